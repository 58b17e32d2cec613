//! Laws of the canonical encoding: a round trip loses nothing, equal values and only those have
//! equal bytes, and whatever decodes is canonical.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use plimsoll::value::{Encoded, Table, TableKey, Value};
use proptest::collection::vec;
use proptest::prelude::*;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        prop_oneof![any::<i64>(), -2..3_i64].prop_map(Value::from),
        any::<u64>().prop_map(|bits| Value::from(f64::from_bits(bits))),
        prop::sample::select(vec![0.0, -0.0, 1.0, f64::NAN, -f64::NAN, f64::INFINITY])
            .prop_map(Value::from),
        vec(any::<u8>(), 0..8).prop_map(Value::from),
    ]
}

fn key() -> impl Strategy<Value = TableKey> {
    prop_oneof![
        any::<bool>().prop_map(TableKey::from),
        (-1..6_i64).prop_map(TableKey::from),
        any::<i64>().prop_map(TableKey::from),
        any::<f64>().prop_filter_map("NaN is no key", TableKey::float),
        vec(any::<u8>(), 0..3).prop_map(|bytes| TableKey::from(Bytes::from(bytes))),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 48, 8, |inner| {
        vec((key(), inner), 0..8)
            .prop_map(|pairs| Value::from(pairs.into_iter().collect::<Table>()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_round_trip_loses_nothing(value in value()) {
        let encoded = Encoded::new(&value).unwrap();
        prop_assert_eq!(&encoded.decode(), &value);
        prop_assert_eq!(&Encoded::new(&encoded.decode()).unwrap(), &encoded);
        prop_assert_eq!(Encoded::from_bytes(encoded.as_bytes().clone()).unwrap(), encoded);
    }

    #[test]
    fn equal_values_and_only_those_have_equal_bytes(a in value(), b in value()) {
        let equal_bytes = Encoded::new(&a).unwrap() == Encoded::new(&b).unwrap();
        prop_assert_eq!(equal_bytes, a == b);
    }

    #[test]
    fn tables_do_not_remember_how_they_were_built(pairs in vec((key(), scalar()), 0..8), seed in any::<u64>()) {
        // The last of several values of one key wins, so keys must be distinct to be reordered.
        let mut distinct: Vec<(TableKey, Value)> = Vec::new();
        for (key, value) in pairs {
            if distinct.iter().all(|(other, _)| *other != key) {
                distinct.push((key, value));
            }
        }
        let forward: Table = distinct.iter().cloned().collect();
        distinct.sort_by_key(|(key, _)| {
            let text = format!("{key:?}");
            text.bytes().fold(seed, |hash, byte| hash.rotate_left(7) ^ u64::from(byte))
        });
        let shuffled: Table = distinct.into_iter().collect();
        prop_assert_eq!(Encoded::new(&forward.into()).unwrap(), Encoded::new(&shuffled.into()).unwrap());
    }

    #[test]
    fn whatever_decodes_is_canonical(bytes in vec(prop_oneof![0..7_u8, any::<u8>()], 0..40)) {
        if let Ok(encoded) = Encoded::from_bytes(bytes.clone().into()) {
            let again = Encoded::new(&encoded.decode()).unwrap();
            prop_assert_eq!(again.as_bytes(), &bytes);
        }
    }

    #[test]
    fn a_damaged_encoding_is_refused_or_another_value(value in value(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let encoded = Encoded::new(&value).unwrap();
        let mut bytes = encoded.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = Encoded::from_bytes(bytes.into()) {
            prop_assert_ne!(other.decode(), value);
        }
    }
}
