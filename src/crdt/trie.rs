//! An XOR hash trie over the registers, kept with every write: whether two maps are equal is told by
//! their roots, and where they differ is found by asking for a few nodes of each level.
//!
//! Registers stand at the hashes of their keys, whose hexadecimal digits, the most significant first,
//! are the path from the root. The hash of a node is the XOR of the hashes of the registers below it.
//! A node with at most [`LEAF_ITEMS_MAX`] registers is a leaf, every other one has sixteen children, so
//! the shape follows from the contents alone.
//!
//! Equal contents have equal roots. Different contents have equal roots by accident only; against who
//! forges hashes it is no protection.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::codec::{DecodeError, Reader, Writer};
use crate::kv::QualifiedKey;

/// The trie of a map. A clone is O(1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trie {
    root: Node,
}

/// A node: a number of leading digits of the hashes below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// How many digits.
    depth: u8,
    /// The digits, from the most significant one on; the rest is 0.
    digits: u64,
}

/// What there is to tell about a node whose hash is not the one that was expected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Look {
    /// The hashes of its children.
    Branch(Box<[u128; FANOUT]>),
    /// The keys below it.
    Leaf(Vec<QualifiedKey>),
}

/// A walk to the places where another trie differs: what is still to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Walk {
    paths: Vec<Path>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// In the order of places, then of keys.
    Leaf(Arc<[Item]>),
    Branch(Arc<Branch>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Branch {
    count: usize,
    hash: u128,
    children: [Node; FANOUT],
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    place: u64,
    key: QualifiedKey,
    hash: u128,
}

impl Trie {
    /// Sets the hash of a key's register.
    pub fn insert(&mut self, key: &QualifiedKey, hash: u128) {
        let place = place_of(key);
        if self.root.replace(place, key, hash, 0).is_none() {
            self.root.insert(Item { place, key: key.clone(), hash }, 0);
        }
    }

    /// Removes the register of a key.
    pub fn remove(&mut self, key: &QualifiedKey) {
        self.root.remove(place_of(key), key, 0);
    }

    /// The hash of everything.
    #[must_use]
    pub fn root(&self) -> u128 {
        self.root.hash()
    }

    /// The hash of what stands below a path.
    #[must_use]
    pub fn hash(&self, path: Path) -> u128 {
        match self.node(path) {
            Node::Branch(branch) => branch.hash,
            Node::Leaf(items) => path.select(items).fold(0, |all, item| all ^ item.hash),
        }
    }

    /// The keys below a path.
    #[must_use]
    pub fn keys(&self, path: Path) -> Vec<QualifiedKey> {
        let mut keys = Vec::new();
        self.node(path).for_each(&mut |item| {
            if path.contains(item.place) {
                keys.push(item.key.clone());
            }
        });
        keys
    }

    /// What differs from a hash that another trie has at a path, if anything does.
    #[must_use]
    pub fn look(&self, path: Path, theirs: u128) -> Option<Look> {
        if self.hash(path) == theirs {
            return None;
        }
        Some(match self.node(path) {
            Node::Branch(branch) => {
                Look::Branch(Box::new(std::array::from_fn(|digit| branch.children[digit].hash())))
            }
            Node::Leaf(_) => Look::Leaf(self.keys(path)),
        })
    }

    /// The node at a path, or the leaf above it.
    fn node(&self, path: Path) -> &Node {
        let mut node = &self.root;
        for depth in 0..path.depth {
            match node {
                Node::Branch(branch) => node = &branch.children[digit_of(path.digits, depth)],
                Node::Leaf(_) => break,
            }
        }
        node
    }
}

impl Hash for Trie {
    /// By the root alone: equal tries have equal ones.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.root().hash(state);
    }
}

impl Walk {
    /// A walk from the root.
    #[must_use]
    pub fn new() -> Self {
        Self { paths: vec![Path::default()] }
    }

    /// The next paths to ask the other trie about, each with the hash that stands here.
    #[must_use]
    pub fn questions(&self, trie: &Trie, paths_max: usize) -> Vec<(Path, u128)> {
        let next = self.paths.iter().rev().take(paths_max);
        next.map(|path| (*path, trie.hash(*path))).collect()
    }

    /// Takes the answers to the questions before: what differs there, in any order. What is not
    /// answered is equal, and what is answered again is not looked at. Answers the paths below which
    /// the keys have to be compared one by one, with the keys that the other trie has there.
    pub fn take(
        &mut self,
        trie: &Trie,
        paths_max: usize,
        answers: Vec<(Path, Look)>,
    ) -> Vec<(Path, Vec<QualifiedKey>)> {
        let asked = self.paths.split_off(self.paths.len().saturating_sub(paths_max));
        let mut asked: BTreeSet<_> = asked.into_iter().collect();
        let mut leaves = Vec::new();
        for (path, look) in answers.into_iter().filter(|(path, _)| asked.remove(path)) {
            match look {
                Look::Leaf(keys) => leaves.push((path, keys)),
                Look::Branch(hashes) => {
                    let children = path.children().into_iter().zip(*hashes);
                    let differing = children.filter(|(child, hash)| trie.hash(*child) != *hash);
                    self.paths.extend(differing.map(|(child, _)| child));
                }
            }
        }
        leaves
    }

    /// Whether nothing is left to ask.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.paths.is_empty()
    }
}

impl Node {
    fn hash(&self) -> u128 {
        match self {
            Self::Branch(branch) => branch.hash,
            Self::Leaf(items) => items.iter().fold(0, |all, item| all ^ item.hash),
        }
    }

    fn for_each(&self, f: &mut impl FnMut(&Item)) {
        match self {
            Self::Leaf(items) => items.iter().for_each(f),
            Self::Branch(branch) => branch.children.iter().for_each(|child| child.for_each(f)),
        }
    }

    /// Sets the hash of a key that is there; answers the one that it had.
    fn replace(&mut self, place: u64, key: &QualifiedKey, hash: u128, depth: u8) -> Option<u128> {
        match self {
            Self::Leaf(items) => {
                let found = find(items, place, key)?;
                let mut all = items.to_vec();
                let old = std::mem::replace(&mut all[found].hash, hash);
                *items = all.into();
                Some(old)
            }
            Self::Branch(shared) => {
                let branch = Arc::make_mut(shared);
                let child = &mut branch.children[digit_of(place, depth)];
                let old = child.replace(place, key, hash, depth + 1)?;
                branch.hash ^= old ^ hash;
                Some(old)
            }
        }
    }

    /// Adds an item whose key is not there.
    fn insert(&mut self, item: Item, depth: u8) {
        match self {
            Self::Branch(branch) => {
                let branch = Arc::make_mut(branch);
                branch.count += 1;
                branch.hash ^= item.hash;
                branch.children[digit_of(item.place, depth)].insert(item, depth + 1);
            }
            Self::Leaf(items) => {
                let mut all = items.to_vec();
                all.insert(all.partition_point(|other| *other < item), item);
                *self = Self::of(all, depth);
            }
        }
    }

    /// Removes the item of a key; answers its hash.
    fn remove(&mut self, place: u64, key: &QualifiedKey, depth: u8) -> Option<u128> {
        match self {
            Self::Leaf(items) => {
                let found = find(items, place, key)?;
                let mut left = items.to_vec();
                let removed = left.remove(found);
                *items = left.into();
                Some(removed.hash)
            }
            Self::Branch(shared) => {
                let branch = Arc::make_mut(shared);
                let hash = branch.children[digit_of(place, depth)].remove(place, key, depth + 1)?;
                branch.count -= 1;
                branch.hash ^= hash;
                if branch.count <= LEAF_ITEMS_MAX {
                    let mut left = Vec::with_capacity(branch.count);
                    self.for_each(&mut |item| left.push(item.clone()));
                    *self = Self::Leaf(left.into());
                }
                Some(hash)
            }
        }
    }

    /// The node of items in order.
    fn of(items: Vec<Item>, depth: u8) -> Self {
        if items.len() <= LEAF_ITEMS_MAX || depth == DEPTH_MAX {
            return Self::Leaf(items.into());
        }
        let (count, hash) = (items.len(), items.iter().fold(0, |all, item| all ^ item.hash));
        let mut parts: [Vec<Item>; FANOUT] = Default::default();
        for item in items {
            parts[digit_of(item.place, depth)].push(item);
        }
        let children = parts.map(|part| Self::of(part, depth + 1));
        Self::Branch(Arc::new(Branch { count, hash, children }))
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::Leaf(Arc::new([]))
    }
}

impl Path {
    fn contains(self, place: u64) -> bool {
        self.depth == 0 || (place ^ self.digits) >> (64 - 4 * u32::from(self.depth)) == 0
    }

    fn select(self, items: &[Item]) -> impl Iterator<Item = &Item> {
        items.iter().filter(move |item| self.contains(item.place))
    }

    /// No path is longer than a place.
    fn children(self) -> Vec<Self> {
        if self.depth == DEPTH_MAX {
            return Vec::new();
        }
        let depth = self.depth + 1;
        let shift = 64 - 4 * u32::from(depth);
        (0..FANOUT as u64)
            .map(|digit| Self { depth, digits: self.digits | digit << shift })
            .collect()
    }

    pub(super) fn encode(self, writer: &mut Writer) {
        writer.byte(self.depth);
        writer.fixed(self.digits);
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let path =
            Self { depth: reader.byte("a depth")?, digits: reader.fixed("digits of a path")? };
        let used = 4 * u32::from(path.depth);
        let is_path = path.depth <= DEPTH_MAX && path.digits.checked_shl(used).unwrap_or(0) == 0;
        if is_path { Ok(path) } else { Err(reader.error("a path")) }
    }
}

fn find(items: &[Item], place: u64, key: &QualifiedKey) -> Option<usize> {
    items.iter().position(|item| item.place == place && item.key == *key)
}

fn place_of(key: &QualifiedKey) -> u64 {
    xxh3_64(key.as_bytes())
}

fn digit_of(place: u64, depth: u8) -> usize {
    (place >> (60 - 4 * u32::from(depth)) & 0xf) as usize
}

/// Children of a branch.
pub const FANOUT: usize = 16;

/// Most registers of a leaf, unless their places are the same.
const LEAF_ITEMS_MAX: usize = 8;

/// Digits of a place.
const DEPTH_MAX: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Key;
    use crate::keyspace::Keyspace;

    fn key(number: u64) -> QualifiedKey {
        let keyspace = Keyspace::new("k").unwrap();
        QualifiedKey::new(&keyspace, &Key::new(&number.to_string()).unwrap())
    }

    fn trie(numbers: impl IntoIterator<Item = u64>) -> Trie {
        let mut trie = Trie::default();
        for number in numbers {
            trie.insert(&key(number), xxhash_rust::xxh3::xxh3_128(&number.to_be_bytes()));
        }
        trie
    }

    #[test]
    fn equal_contents_have_equal_tries_whatever_was_there_before() {
        let straight = trie(0..500);
        let mut detour = trie((0..2_000).rev());
        assert_ne!(straight, detour);
        for number in 500..2_000 {
            detour.remove(&key(number));
        }
        assert_eq!(straight, detour);
        detour.insert(&key(7), 1);
        assert_ne!(straight.root(), detour.root());
        detour.insert(&key(7), xxhash_rust::xxh3::xxh3_128(&7_u64.to_be_bytes()));
        assert_eq!(straight, detour, "a hash is replaced in its place");
        for number in 0..500 {
            detour.remove(&key(number));
        }
        assert_eq!(detour, Trie::default());
        assert_eq!(detour.root(), 0);
        assert_eq!(straight.keys(Path::default()).len(), 500);
    }

    #[test]
    fn items_of_one_place_share_a_leaf() {
        let items = |count| (0..count).map(|n| Item { place: 5, key: key(n), hash: n.into() });
        let mut node = Node::default();
        items(20).for_each(|item| node.insert(item, 0));
        assert_eq!(node.hash(), (0..20).fold(0, |all, hash| all ^ hash));
        items(20).for_each(|item| assert_eq!(node.remove(5, &item.key, 0), Some(item.hash)));
        assert_eq!(node, Node::default());
    }

    #[test]
    fn a_walk_finds_what_differs_in_few_rounds() {
        let (one, other) = (trie(0..20_000), trie((3..20_000).chain([70_000])));
        let (mut walk, mut rounds, mut asked) = (Walk::new(), 0, 0);
        let mut found = Vec::new();
        while !walk.is_over() {
            let questions = walk.questions(&one, 256);
            rounds += 1;
            asked += questions.len();
            let answers = questions
                .into_iter()
                .filter_map(|(path, hash)| Some((path, other.look(path, hash)?)))
                .collect();
            for (path, theirs) in walk.take(&one, 256, answers) {
                let ours = one.keys(path);
                found.extend(ours.iter().filter(|key| !theirs.contains(key)).cloned());
                found.extend(theirs.into_iter().filter(|key| !ours.contains(key)));
            }
        }
        found.sort();
        let mut expected = [0, 1, 2, 70_000].map(key);
        expected.sort();
        assert_eq!(found, expected);
        assert!(rounds <= 6, "{rounds} rounds");
        assert!(asked <= 24, "{asked} questions");
    }

    #[test]
    fn an_answer_that_comes_twice_is_taken_once() {
        let (one, other) = (trie(0..300), trie(3..300));
        let mut walk = Walk::new();
        let (path, hash) = walk.questions(&one, 1)[0];
        let answer = (path, other.look(path, hash).unwrap());
        let mut twice = walk.clone();
        walk.take(&one, 1, vec![answer.clone()]);
        twice.take(&one, 1, vec![answer.clone(), answer]);
        assert_eq!(twice, walk);
        assert!(!walk.is_over());
    }
}
