//! The frame of the tests of the tests: every deliberate bug of a list is caught, and the code without
//! one is not. What catches a bug is the caller's matter.
#![allow(dead_code)]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use plimsoll::mutant;

/// A panic: the file that it is in, and what it says.
#[derive(Debug)]
pub struct Panic {
    pub file: String,
    pub message: String,
}

/// Every mutant is caught, and the code without one is not. Prints what caught each.
pub fn all_are_caught(mutants: &[&str], what_catches: impl Fn() -> Option<String>) {
    let (mut survivors, mut without) = (Vec::new(), None);
    quietly(|| {
        println!("mutant                                         caught by");
        for name in mutants {
            match with(Some(name), &what_catches) {
                Some(how) => println!("{name:<45}  {how}"),
                None => survivors.push(name),
            }
        }
        without = with(None, &what_catches);
    });
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
    assert_eq!(without, None, "caught though there is no mutant");
}

/// Runs something with a mutant.
pub fn with<T>(name: Option<&str>, run: impl FnOnce() -> T) -> T {
    mutant::set(name);
    let result = run();
    mutant::set(None);
    result
}

/// Runs something in which panics are expected, and so told nobody; one such thing at a time.
pub fn quietly(run: impl FnOnce()) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    std::panic::set_hook(Box::new(|info| {
        let file = info.location().map_or(String::new(), |place| place.file().to_owned());
        let message = info.payload_as_str().unwrap_or_default().to_owned();
        LAST.set(Some(Panic { file, message }));
    }));
    run();
    drop(std::panic::take_hook());
}

/// What comes of a run, or the panic that it ended with. Only within [`quietly`].
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| LAST.take().expect("the hook has seen it"))
}

static ALONE: Mutex<()> = Mutex::new(());

thread_local! {
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}
