//! What the machine tells of itself: the name of the host and the home folder, for defaults.

use std::path::PathBuf;

use super::check_name;
use crate::registry::environment::Environment;

/// The host name, if it is good as the name of a node.
pub(super) fn node_name(environment: &Environment) -> String {
    let variable = environment.variable("HOSTNAME");
    let candidates = variable.into_iter().chain(std::fs::read_to_string(HOST_NAME_FILE));
    let mut names = candidates.map(|candidate| candidate.trim().to_owned());
    names.find(|name| check_name(name).is_ok()).unwrap_or_else(|| DEFAULT_NAME.to_owned())
}

/// Where the state of a node is kept that says nothing about it; none if there is no home folder.
pub(super) fn data_dir(name: &str, environment: &Environment) -> Option<PathBuf> {
    let home = match environment {
        Environment::Process => std::env::home_dir(),
        Environment::Fixed(_) => environment.variable("HOME").map(PathBuf::from),
    };
    let home = home.filter(|home| home.is_absolute())?;
    Some(home.join(DATA_FOLDER).join(name))
}

/// Below the home folder.
const DATA_FOLDER: &str = ".plimsoll/store";
const HOST_NAME_FILE: &str = "/etc/hostname";
const DEFAULT_NAME: &str = "plimsoll";
