//! Values and Rust types: what goes in comes out, also through the canonical encoding and stores;
//! what can't is refused with its path.
#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use bytes::Bytes;
use plimsoll::error::ErrorKind;
use plimsoll::limits::VALUE_DEPTH_MAX;
use plimsoll::value::{Encoded, Table, TableKey, Value, from_value, to_value};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Everything that serde knows, in one type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    boolean: bool,
    small: (i8, i16, i32, u8, u16, u32),
    large: (i64, u64, i128, u128),
    floats: (f32, f64),
    text: (char, String),
    value: Value,
    nothing: Option<i64>,
    unit: (),
    marker: Marker,
    id: Id,
    pair: Pair,
    holes: (Option<bool>, Option<bool>, Option<bool>),
    array: [Option<u8>; 3],
    list: Vec<Shape>,
    set: BTreeSet<String>,
    names: BTreeMap<String, Vec<f64>>,
    numbers: BTreeMap<i64, Shape>,
    switches: BTreeMap<bool, Id>,
    letters: BTreeMap<char, u8>,
    levels: BTreeMap<Level, Option<()>>,
    inner: Option<Box<Everything>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Marker;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Id(u32);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair(Option<String>, i16);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Level {
    Low,
    High,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Named(String),
    Maybe(Option<i32>),
    Corners(Option<i32>, f64),
    Box { width: u16, label: Option<String>, level: Level },
    Group(Vec<Shape>),
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), Just(-0.0), Just(2.0), Just(f64::INFINITY)]
}

fn shape() -> impl Strategy<Value = Shape> {
    let level = prop_oneof![Just(Level::Low), Just(Level::High)];
    let leaf =
        prop_oneof![
            Just(Shape::Point),
            ".{0,4}".prop_map(Shape::Named),
            any::<Option<i32>>().prop_map(Shape::Maybe),
            (any::<Option<i32>>(), float()).prop_map(|(a, b)| Shape::Corners(a, b)),
            (any::<u16>(), option::of(".{0,4}"), level)
                .prop_map(|(width, label, level)| Shape::Box { width, label, level }),
        ];
    leaf.prop_recursive(3, 12, 4, |inner| vec(inner, 0..4).prop_map(Shape::Group))
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof![float(), Just(f64::NAN)].prop_map(Value::from),
        vec(any::<u8>(), 0..8).prop_map(Value::from),
    ]
}

fn key() -> impl Strategy<Value = TableKey> {
    prop_oneof![
        any::<bool>().prop_map(TableKey::from),
        (-1..6_i64).prop_map(TableKey::from),
        any::<f64>().prop_filter_map("NaN is no key", TableKey::float),
        vec(any::<u8>(), 0..3).prop_map(|bytes| TableKey::from(Bytes::from(bytes))),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 32, 6, |inner| {
        vec((key(), inner), 0..6).prop_map(|pairs| Value::from(Table::from_iter(pairs)))
    })
}

prop_compose! {
    fn scalars()(
        boolean in any::<bool>(),
        small in any::<(i8, i16, i32, u8, u16, u32)>(),
        large in (any::<i64>(), 0..=i64::MAX as u64, any::<i64>(), 0..=i64::MAX as u128),
        floats in (any::<f32>(), float()),
        text in any::<(char, String)>(),
        value in value(),
        nothing in any::<Option<i64>>(),
        id in any::<u32>(),
        pair in any::<(Option<String>, i16)>(),
    ) -> Everything {
        Everything {
            boolean, small, floats, text, value, nothing,
            large: (large.0, large.1, large.2.into(), large.3),
            unit: (), marker: Marker, id: Id(id), pair: Pair(pair.0, pair.1),
            holes: (None, None, None), array: [None; 3], list: Vec::new(), set: BTreeSet::new(),
            names: BTreeMap::new(), numbers: BTreeMap::new(), switches: BTreeMap::new(),
            letters: BTreeMap::new(), levels: BTreeMap::new(), inner: None,
        }
    }
}

prop_compose! {
    fn containers()(
        outer in scalars(),
        holes in any::<(Option<bool>, Option<bool>, Option<bool>)>(),
        array in any::<[Option<u8>; 3]>(),
        list in vec(shape(), 0..4),
        set in btree_set(".{0,4}", 0..4),
        names in btree_map(".{0,4}", vec(float(), 0..3), 0..3),
        numbers in btree_map(prop_oneof![-1..5_i64, any::<i64>()], shape(), 0..5),
        switches in btree_map(any::<bool>(), any::<u32>().prop_map(Id), 0..3),
        letters in btree_map(any::<char>(), any::<u8>(), 0..3),
        has_levels in any::<bool>(),
    ) -> Everything {
        let levels = if has_levels { BTreeMap::from([(Level::Low, Some(()))]) } else { BTreeMap::new() };
        Everything { holes, array, list, set, names, numbers, switches, letters, levels, ..outer }
    }
}

fn everything() -> impl Strategy<Value = Everything> {
    (containers(), option::of(containers()))
        .prop_map(|(outer, inner)| Everything { inner: inner.map(Box::new), ..outer })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_type_comes_back_as_it_was(given in everything()) {
        let value = to_value(&given).unwrap();
        prop_assert_eq!(&from_value::<Everything>(&value).unwrap(), &given);
        let stored = Encoded::new(&value).unwrap().decode();
        prop_assert_eq!(from_value::<Everything>(&stored).unwrap(), given);
    }

    #[test]
    fn a_value_is_itself_through_serde(given in value()) {
        prop_assert_eq!(&to_value(&given).unwrap(), &given);
        prop_assert_eq!(&from_value::<Value>(&given).unwrap(), &given);
    }

    /// Whatever is read, there is an answer and no panic, and what was read is written as it was.
    #[test]
    fn no_value_is_misread(given in value()) {
        let _ = from_value::<Everything>(&given);
        if let Ok(shapes) = from_value::<Vec<Shape>>(&given) {
            prop_assert_eq!(from_value::<Vec<Shape>>(&to_value(&shapes).unwrap()).unwrap(), shapes);
        }
        if let Ok(list) = from_value::<Vec<Value>>(&given) {
            prop_assert_eq!(to_value(&list).unwrap(), given);
        } else if let Ok(map) = from_value::<BTreeMap<TableKey, Value>>(&given) {
            prop_assert_eq!(to_value(&map).unwrap(), given);
        }
    }
}

#[track_caller]
fn assert_written(given: impl Serialize + Debug, lua: &str) {
    let value = to_value(&given).unwrap_or_else(|error| panic!("{given:?}: {error}"));
    assert_eq!(format!("{value:?}"), lua, "{given:?}");
}

#[test]
fn types_are_written_as_the_documentation_says() {
    assert_written((1_u8, 1.0_f32, 'x', "y"), r#"{1, 1.0, "x", "y"}"#);
    assert_written(Some(Some(5)), "5");
    assert_written(((), Marker), "{{}, {}}");
    assert_written(Id(7), "7");
    assert_written(Pair(None, 3), "{[2] = 3}");
    assert_written([None, Some(1), None], "{[2] = 1}");
    assert_written(Shape::Point, r#""Point""#);
    assert_written(Shape::Named("a".into()), r#"{["Named"] = "a"}"#);
    assert_written(Shape::Maybe(None), r#""Maybe""#);
    assert_written(Shape::Corners(None, 0.5), r#"{["Corners"] = {[2] = 0.5}}"#);
    let shape = Shape::Box { width: 1, label: None, level: Level::High };
    assert_written(shape, r#"{["Box"] = {["level"] = "High", ["width"] = 1}}"#);
    assert_written(BTreeMap::from([(1, "a"), (2, "b"), (9, "c")]), r#"{"a", "b", [9] = "c"}"#);
    assert_written(BTreeMap::from([("a", None), ("b", Some(1))]), r#"{["b"] = 1}"#);
    assert_written(BTreeMap::from([(Level::Low, true)]), r#"{["Low"] = true}"#);
}

#[track_caller]
fn assert_refused(given: impl Serialize, message: &str) {
    let error = to_value(&given).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));
}

#[derive(Serialize)]
struct Cart {
    user: Basket,
}

#[derive(Serialize)]
struct Basket {
    items: Vec<u64>,
}

/// A map that has its keys from a list.
struct Pairs<'a, K>(&'a [(K, i64)]);

impl<K: Serialize> Serialize for Pairs<'_, K> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[test]
fn what_is_no_value_is_refused_with_its_path() {
    let beyond = i64::MAX as u64 + 1;
    let cart = Cart { user: Basket { items: vec![1, 2, beyond] } };
    assert_refused(
        cart,
        "value.user.items[3]: 9223372036854775808 is no integer of 64 bits with a sign; keep it as \
         a string",
    );
    assert_refused(
        i128::MIN,
        "value: -170141183460469231731687303715884105728 is no integer of 64 bits with a sign; keep it as a string",
    );
    assert_refused(None::<i32>, "value: None is no value: what is not there is an absent key");
    assert_refused(
        BTreeMap::from([("a b", vec![Some(1), None])]),
        "value[\"a b\"][2]: None is no value: what is not there is an absent key",
    );
    assert_refused(BTreeMap::from([((1, 2), 3)]), "value: a table can't be a key");
    assert_refused(BTreeMap::from([(None::<i32>, 3)]), "value: None can't be a key");
    assert_refused(
        BTreeMap::from([(beyond, 3)]),
        "value: 9223372036854775808 is no integer of 64 bits with a sign; keep it as a string",
    );
    assert_refused(Pairs(&[("a", 1), ("b", 2), ("a", 3)]), "value.a: the key occurs twice");
    assert_refused(Pairs(&[(1.0, 1), (2.0, 2), (1.0, 3)]), "value[1]: the key occurs twice");
    assert_refused(Pairs(&[(f64::NAN, 1)]), "value: NaN can't be a key");
    let list = Shape::Group(vec![Shape::Point; 2]);
    let deep = (1..=VALUE_DEPTH_MAX).fold(list, |inner, _| Shape::Group(vec![inner]));
    let error = to_value(&deep).unwrap_err();
    assert_eq!(error.detail("limit"), Some(&VALUE_DEPTH_MAX.into()));
    assert!(error.message().starts_with("value.Group[1].Group[1]"), "{error}");
}

#[test]
fn the_deepest_value_that_is_written_can_be_stored() {
    let nested = |depth: usize| {
        (1..depth).fold(Value::table(), |inner, _| Table::from_iter([(1, inner)]).into())
    };
    let deepest = to_value(&nested(VALUE_DEPTH_MAX)).unwrap();
    assert!(Encoded::new(&deepest).is_ok());
    assert_eq!(from_value::<Value>(&deepest).unwrap(), deepest);
    assert!(to_value(&nested(VALUE_DEPTH_MAX + 1)).is_err());
    assert!(from_value::<Value>(&nested(VALUE_DEPTH_MAX + 1)).is_err());
}

#[track_caller]
fn assert_unread<T: DeserializeOwned + Debug>(value: impl Into<Value>, message: &str) {
    let error = from_value::<T>(&value.into()).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));
}

fn table(pairs: impl IntoIterator<Item = (impl Into<TableKey>, impl Into<Value>)>) -> Table {
    Table::from_iter(pairs)
}

#[test]
fn what_a_type_does_not_take_is_refused_with_its_path() {
    assert_unread::<i64>(1.0, "value: invalid type: floating point `1.0`, expected i64");
    assert_unread::<u8>(300, "value: invalid value: integer `300`, expected u8");
    assert_unread::<u64>(-1, "value: invalid value: integer `-1`, expected u64");
    assert_unread::<f32>(
        0.1,
        "value: invalid type: floating point `0.1`, expected a float of 32 bits",
    );
    let odd = (1_i64 << 53) + 1;
    assert_unread::<f64>(
        odd,
        "value: invalid type: integer `9007199254740993`, expected a float of 64 bits",
    );
    assert_unread::<f64>(
        i64::MAX,
        "value: invalid type: integer `9223372036854775807`, expected a float of 64 bits",
    );
    assert_unread::<String>(vec![0xff], "value: invalid value: byte array, expected a string");
    assert_unread::<()>(1, "value: invalid type: integer `1`, expected unit");
    assert_unread::<(i64, i64)>(table([(1, 1)]), "value[2]: nothing is here");
    assert_unread::<(i64, i64)>(
        table([(1, 1), (2, 2), (3, 3)]),
        "value: invalid length 3, expected a tuple of size 2",
    );
    assert_unread::<(i64, Option<i64>)>(table([(1, 1), (4, 4)]), "value: 2 items have no key [4]");
    assert_unread::<Vec<i64>>(
        table([(1, 1), (3, 3)]),
        "value: a list has no key but its positions, and no [3]",
    );
    assert_unread::<Vec<i64>>("x", "value: invalid type: string \"x\", expected a sequence");
    assert_unread::<Id>(table([(1, 1)]), "value: invalid type: sequence, expected u32");
    let bad = table([("users", table([(1, table([("1st", "x")]))]))]);
    assert_unread::<BTreeMap<String, Vec<BTreeMap<String, i64>>>>(
        bad,
        "value.users[1][\"1st\"]: invalid type: string \"x\", expected i64",
    );
    assert_unread::<Shape>(
        "Circle",
        "value: unknown variant `Circle`, expected one of `Point`, `Named`, `Maybe`, `Corners`, `Box`, `Group`",
    );
    assert_unread::<Shape>("Named", "value.Named: nothing is here");
    assert_unread::<Shape>(
        table([("Point", 1)]),
        "value.Point: invalid type: integer `1`, expected nothing",
    );
    assert_unread::<Shape>(
        table([("Point", 1), ("Box", 2)]),
        "value: a variant is its name, or a table whose one key is its name",
    );
    assert_unread::<Shape>(
        table([("Box", table([("width", 70_000)]))]),
        "value.Box.width: invalid value: integer `70000`, expected u16",
    );
    assert_unread::<Shape>(
        table([("Box", table([("width", 7)]))]),
        "value.Box: missing field `level`",
    );
}

#[test]
fn numbers_are_read_where_nothing_changes() {
    assert_eq!(from_value::<f64>(&3.into()), Ok(3.0));
    assert_eq!(from_value::<f32>(&0.5.into()), Ok(0.5));
    assert_eq!(from_value::<f32>(&16_777_216.into()), Ok(16_777_216.0));
    assert!(from_value::<f32>(&16_777_217.into()).is_err());
    assert!(from_value::<f32>(&f64::NAN.into()).unwrap().is_nan());
    assert_eq!(from_value::<f32>(&f64::INFINITY.into()), Ok(f32::INFINITY));
    assert!(from_value::<f32>(&1e300.into()).is_err());
    assert_eq!(from_value::<f64>(&i64::MIN.into()), Ok(-9_223_372_036_854_775_808.0));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Event {
    Tagged {
        tags: Vec<String>,
        count: u64,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(i64),
    Real(f64),
    Text(String),
    List(Vec<Either>),
    Struct { left: Option<Box<Either>> },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    a: i64,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Borrowed<'a> {
    name: &'a str,
}

#[test]
fn the_attributes_of_serde_work() {
    let rest = BTreeMap::from([("x".to_owned(), Value::from(vec![0xff]))]);
    let event = Event::Tagged { tags: Vec::new(), count: 3, rest };
    let value = to_value(&event).unwrap();
    assert_eq!(
        format!("{value:?}"),
        r#"{["count"] = 3, ["kind"] = "Tagged", ["tags"] = {}, ["x"] = "\xff"}"#
    );
    assert_eq!(from_value::<Event>(&value).unwrap(), event);

    let list = vec![Either::Number(1), Either::Real(1.0), Either::Text("x".into())];
    let either = Either::Struct { left: Some(Box::new(Either::List(list))) };
    assert_eq!(from_value::<Either>(&to_value(&either).unwrap()).unwrap(), either);

    assert_eq!(from_value::<Strict>(&table([("a", 1)]).into()), Ok(Strict { a: 1 }));
    let other = Value::from(table([(TableKey::from("a"), 1), (TableKey::from(7), 2)]));
    let error = from_value::<Strict>(&other).unwrap_err();
    assert!(error.message().contains("unknown field `[7]`"), "{error}");

    let value = Value::from(table([("name", "Alice")]));
    let borrowed: Borrowed<'_> = from_value(&value).unwrap();
    assert_eq!(borrowed.name, "Alice");
}

#[cfg(feature = "store")]
#[test]
fn values_go_through_other_formats() {
    let text = r#"{"a":[1,2.5,"x",true],"b":{"c":{}},"d":null,"e":[1,null,3]}"#;
    let value: Value = serde_json::from_str(text).unwrap();
    let table = value.as_table().unwrap();
    assert_eq!(table.get("d"), None);
    assert_eq!(format!("{:?}", table.get("e").unwrap()), "{1, [3] = 3}");
    assert_eq!(
        serde_json::to_string(&value).unwrap(),
        r#"{"a":[1,2.5,"x",true],"b":{"c":{}},"e":{"1":1,"3":3}}"#
    );
    assert_eq!(
        plimsoll::json::parse(text.as_bytes()).unwrap(),
        Some(value),
        "as json.decode reads it"
    );
    for bad in ["null", "18446744073709551615"] {
        assert!(serde_json::from_str::<Value>(bad).is_err(), "{bad}");
    }
}

#[cfg(feature = "store")]
mod in_stores {
    use plimsoll::entry::{Condition, PutOptions};
    use plimsoll::error::Outcome;
    #[cfg(feature = "sql")]
    use plimsoll::sql::{Identifier, SqliteDatabase, SqliteFile, SqliteOptions};
    use plimsoll::store::{MemoryOptions, MemoryStore, StoreHandle};
    #[cfg(feature = "sql")]
    use plimsoll::store::{SqlOptions, SqlStore};
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    async fn handles() -> Vec<StoreHandle> {
        let mut handles =
            vec![StoreHandle::new("app:memory", MemoryStore::open(MemoryOptions::default()))];
        #[cfg(feature = "sql")]
        {
            let database = SqliteDatabase::open(SqliteOptions::new(SqliteFile::Memory));
            let options =
                SqlOptions { create_table: true, ..SqlOptions::new(Identifier::new("t").unwrap()) };
            let store = SqlStore::open(database, options).await.unwrap();
            handles.push(StoreHandle::new("app:sql", store));
        }
        handles
    }

    #[test]
    fn every_type_comes_back_from_every_store() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handles = runtime.block_on(handles());
        let config = Config { cases: 100, failure_persistence: None, ..Config::default() };
        let compared = TestRunner::new(config).run(&everything(), |given| {
            runtime.block_on(async {
                for handle in &handles {
                    handle.set_as("k", &given, None).await.unwrap();
                    let got = handle.get_as::<Everything>("k").await.unwrap();
                    prop_assert_eq!(got.as_ref(), Some(&given));
                    let put = handle.put_as("k", &given, PutOptions::default()).await.unwrap();
                    let entry = handle.entry_as::<Everything>("k").await.unwrap().unwrap();
                    prop_assert_eq!(&put.typed::<Everything>().unwrap(), &entry);
                    prop_assert_eq!(&entry.value, &given);
                }
                Ok(())
            })
        });
        compared.unwrap();
    }

    #[tokio::test]
    async fn a_handle_refuses_what_is_no_value_and_what_does_not_fit() {
        for handle in handles().await {
            let error = handle.set_as("k", &[u64::MAX], None).await.unwrap_err();
            assert_eq!(error.outcome(), Some(Outcome::None));
            assert!(error.message().starts_with("value[1]: 18446744073709551615 is no integer"));
            let error = handle.put_as("k", &None::<i32>, PutOptions::default()).await.unwrap_err();
            assert_eq!((error.kind(), error.outcome()), (ErrorKind::Invalid, Some(Outcome::None)));
            assert_eq!(handle.get_as::<i64>("k").await, Ok(None));

            handle.set_as("k", &[1, 2], None).await.unwrap();
            let error = handle.get_as::<Vec<bool>>("k").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert_eq!(
                error.message(),
                "the entry \"k\": value[1]: invalid type: integer `1`, expected a boolean"
            );
            assert_eq!(error.outcome(), None, "nothing was to be written");

            handle.release();
            let error = handle.set_as("", &u64::MAX, None).await.unwrap_err();
            assert!(error.message().contains("is released"), "{error}");
            assert_eq!(error.outcome(), Some(Outcome::None));
        }
    }

    #[tokio::test]
    async fn conditions_hold_for_types_too() {
        let handle = &handles().await[0];
        let absent = PutOptions { condition: Condition::Absent, ttl: None };
        let first = handle.put_as("k", &Id(1), absent).await.unwrap();
        let error = handle.put_as("k", &Id(2), absent).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        let current = PutOptions { condition: Condition::Version(first.version), ttl: None };
        handle.put_as("k", &Id(3), current).await.unwrap();
        assert_eq!(handle.get_as("k").await, Ok(Some(Id(3))));
    }
}
