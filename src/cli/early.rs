//! Reads options from arguments that are not parsed yet, and may be wrong.

use std::env;

/// Returns the last value of an option in the arguments of this process. `names` has all names of the option, with their dashes.
pub fn value_of(names: &[&str]) -> Option<String> {
    let arguments = env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let arguments: Vec<String> = arguments.take_while(|argument| argument != "--").collect();
    arguments.iter().enumerate().rev().find_map(|(at, argument)| {
        let rest = names.iter().find_map(|name| argument.strip_prefix(name))?;
        if rest.is_empty() {
            arguments.get(at + 1).cloned()
        } else {
            rest.strip_prefix('=').map(str::to_owned)
        }
    })
}
