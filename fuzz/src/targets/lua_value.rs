//! Values through the real Lua: what goes in comes out, exactly, or is refused and nothing changes.
//!
//! The first byte chooses:
//! 0. A value, written as a Lua expression, goes into a store and out again, in both directions.
//! 1. A graph of tables, built by raw assignments: shared, cyclic, deep, with metatables, with what
//!    can't be stored. An independent walk over the same graph says what has to come of it.
//! 2. A JSON text: Lua's `json` reads what Rust reads, and writes what reads back the same.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use plimsoll::json;
use plimsoll::limits::VALUE_BYTES_MAX;
use plimsoll::value::{Encoded, Table, TableKey, Value};
use tokio::runtime::{Builder, Runtime};

use super::input::Input;
use crate::expressions::{expression, key_expression, string_expression};
use crate::host::{Host, MEMORY};

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.below(3);
    WORLD.with_borrow_mut(|world| {
        let World { runtime, host } = world;
        runtime.block_on(async {
            match choice {
                0 => round_trip(host, &value(&mut input, 0)).await,
                1 => graph(host, &mut input).await,
                _ => json_text(host, input.rest()).await,
            }
        });
    });
}

/// A state of Lua takes long to make.
struct World {
    runtime: Runtime,
    host: Host,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new({
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let host = runtime.block_on(async {
            let host = Host::new(MEMORY).await;
            host.run(PRELUDE).await;
            host
        });
        World { runtime, host }
    });
}

const PRELUDE: &str = "
    local raise = function() error('a metamethod ran') end
    hostile = {
        __index = raise, __newindex = raise, __pairs = raise, __len = raise, __eq = raise,
        __tostring = raise, __name = 'value', __metatable = false,
    }
    unstorable = {print, coroutine.create(print), io.stdout, cache}
    function wrapped(inner, levels)
        for _ = 1, levels do inner = {inner} end
        return inner
    end";

async fn round_trip(host: &Host, value: &Value) {
    let store = host.engine.store("app:cache").await.unwrap();
    let text = expression(value);
    host.run(&format!("assert(cache:set('in', {text}))")).await;
    let stored = store.get("in").await.unwrap().unwrap();
    assert_eq!(stored, *value, "{text} into the store");
    host.run("assert(cache:set('out', (cache:get('in'))))").await;
    let read = store.get("out").await.unwrap().unwrap();
    assert_eq!(Encoded::new(&read), Encoded::new(value), "{text} out of the store");
    host.run(
        "local ok, text = pcall(json.encode, (cache:get('in')))
        if ok then assert(cache:set('json', json.decode(text))) else cache:set('json', false) end
        could_be_json = ok",
    )
    .await;
    match json::to_text("value", value) {
        Ok(_) => assert_eq!(store.get("json").await.unwrap().unwrap(), *value, "{text} as JSON"),
        Err(_) => assert_eq!(host.show("return could_be_json").await, "false", "{text}"),
    }
}

fn value(input: &mut Input<'_>, depth: usize) -> Value {
    match input.below(if depth < 6 { 10 } else { 7 }) {
        0 => Value::from(input.byte() & 1 == 1),
        1 => Value::from(i64::from(input.byte()) - 100),
        2 => Value::Integer(input.word().cast_signed()),
        3 => Value::Float(f64::from_bits(input.word())),
        4 => Value::Float(input.one_of(&FLOATS)),
        5 => Value::from(input.fewer_than(24)),
        6 => Value::from(input.one_of(&["", "null", "$plimsoll", "a\0b", "é"])),
        7 => (1_i64..).zip(values(input, depth)).collect::<Table>().into(),
        _ => {
            let values = values(input, depth);
            let pairs = values.into_iter().map(|value| (key(input), value));
            pairs.collect::<Table>().into()
        }
    }
}

fn values(input: &mut Input<'_>, depth: usize) -> Vec<Value> {
    let count = input.below(7);
    (0..count).map(|_| value(input, depth + 1)).collect()
}

fn key(input: &mut Input<'_>) -> TableKey {
    match input.below(6) {
        0 => TableKey::Boolean(input.byte() & 1 == 1),
        1 | 2 => TableKey::Integer(i64::from(input.byte() % 12) - 3),
        3 => TableKey::Integer(input.word().cast_signed()),
        4 => TableKey::float(f64::from_bits(input.word())).unwrap_or(TableKey::Float(0.5)),
        _ => TableKey::String(Bytes::copy_from_slice(input.fewer_than(12))),
    }
}

/// What a table of the graph holds under a key.
#[derive(Clone)]
enum Cell {
    Scalar(Value),
    Node(usize),
    /// A function, or another thing that can't be stored.
    Unstorable,
}

/// A graph, and the Lua source that builds it.
struct Graph {
    nodes: Vec<BTreeMap<TableKey, Cell>>,
    /// Which node each name stands for.
    names: [usize; 6],
    source: String,
}

async fn graph(host: &Host, input: &mut Input<'_>) {
    let mut graph = Graph {
        nodes: vec![BTreeMap::new(); 6],
        names: [0, 1, 2, 3, 4, 5],
        source: String::from("local n = {{}, {}, {}, {}, {}, {}} "),
    };
    for _ in 0..24 {
        if input.is_empty() {
            break;
        }
        graph.step(input);
    }
    let store = host.engine.store("app:cache").await.unwrap();
    store.set("graph", "before", None).await.unwrap();
    let source = format!(
        "{} local entry, err = cache:put('graph', n[1])
        return entry and 'stored' or err:kind() .. ' ' .. tostring(err:details().outcome)",
        graph.source
    );
    let answer = host.show(&source).await;
    let stored = store.get("graph").await.unwrap().unwrap();
    let expected = graph.expanded().filter(|value| Encoded::new(value).is_ok());
    match expected {
        Some(expected) => {
            assert_eq!(answer, "stored", "{source}");
            assert_eq!(stored, expected, "{source}");
        }
        None => {
            assert_eq!(answer, "Invalid none", "{source}");
            assert_eq!(stored, Value::from("before"), "{source}");
        }
    }
}

impl Graph {
    fn step(&mut self, input: &mut Input<'_>) {
        let (choice, name) = (input.below(8), input.below(self.names.len()));
        let lua = name + 1;
        match choice {
            0 => {
                let levels = usize::from(input.byte() % 80);
                for _ in 0..levels {
                    let inner = Cell::Node(self.names[name]);
                    self.names[name] = self.nodes.len();
                    self.nodes.push(BTreeMap::from([(TableKey::Integer(1), inner)]));
                }
                write!(self.source, "n[{lua}] = wrapped(n[{lua}], {levels}) ").unwrap();
            }
            1 => write!(self.source, "pcall(setmetatable, n[{lua}], hostile) ").unwrap(),
            2 => {
                let which = 1 + input.below(4);
                self.assign(name, key(input), Cell::Unstorable, &format!("unstorable[{which}]"));
            }
            3..=5 => {
                let (key, value) = (key(input), value(input, 6));
                let text = expression(&value);
                self.assign(name, key, Cell::Scalar(value), &text);
            }
            _ => {
                let (key, other) = (key(input), input.below(self.names.len()));
                self.assign(name, key, Cell::Node(self.names[other]), &format!("n[{}]", other + 1));
            }
        }
    }

    fn assign(&mut self, name: usize, key: TableKey, cell: Cell, text: &str) {
        let key_text = key_expression(&key);
        write!(self.source, "rawset(n[{}], {key_text}, {text}) ", name + 1).unwrap();
        self.nodes[self.names[name]].insert(key, cell);
    }

    /// The tree that the first table stands for; none if it is endless, too large, or has what can't
    /// be stored.
    fn expanded(&self) -> Option<Value> {
        let mut tables_left = VALUE_BYTES_MAX / TABLE_BYTES_MIN;
        self.expand(self.names[0], &mut Vec::new(), &mut tables_left)
    }

    fn expand(
        &self,
        node: usize,
        above: &mut Vec<usize>,
        tables_left: &mut usize,
    ) -> Option<Value> {
        if above.contains(&node) {
            return None;
        }
        *tables_left = tables_left.checked_sub(1)?;
        above.push(node);
        let mut table = Table::new();
        for (key, cell) in &self.nodes[node] {
            let value = match cell {
                Cell::Scalar(value) => value.clone(),
                Cell::Node(inner) => self.expand(*inner, above, tables_left)?,
                Cell::Unstorable => return None,
            };
            table.insert(key.clone(), value);
        }
        above.pop();
        Some(table.into())
    }
}

async fn json_text(host: &Host, text: &[u8]) {
    let store = host.engine.store("app:cache").await.unwrap();
    let source = format!(
        "local ok, value = pcall(json.decode, {})
        if not ok then return 'refused' end
        if value == nil then return 'null' end
        local stored = cache:set('json', value)
        return stored and 'stored' or 'too much'",
        string_expression(text)
    );
    let answer = host.show(&source).await;
    match json::parse(text) {
        Err(_) => assert_eq!(answer, "refused", "{source}"),
        Ok(None) => assert_eq!(answer, "null", "{source}"),
        Ok(Some(value)) if Encoded::new(&value).is_ok() => {
            assert_eq!(answer, "stored", "{source}");
            assert_eq!(store.get("json").await.unwrap().unwrap(), value, "{source}");
        }
        Ok(Some(_)) => assert_eq!(answer, "too much", "{source}"),
    }
}

/// A tag and two counts.
const TABLE_BYTES_MIN: usize = 3;

const FLOATS: [f64; 8] =
    [0.0, -0.0, 1.0, f64::INFINITY, f64::NAN, 9_007_199_254_740_992.0, 1e300, 5e-324];
