//! Names of Node, Deno and Bun programs.

use serde::Deserialize;

use super::{Clues, place, script_argument};

/// Directories that are looked into for a package.json, from the script upwards.
const DEEPEST: usize = 16;

#[derive(Deserialize)]
struct Package {
    name: Option<String>,
}

pub(super) fn name(clues: &Clues<'_>) -> Option<String> {
    // `process.title = …` replaces the whole command line.
    if let [title] = clues.args {
        let own = place::file_name(title.split(' ').next()?);
        if super::Runtime::of(own).is_none() && !title.starts_with("npm ") {
            return Some(own.trim_end_matches(':').to_owned());
        }
    }
    let command = ["-e", "--eval", "-p", "--print", "-pe", "eval"];
    let valued = [
        "-r",
        "--require",
        "--import",
        "--loader",
        "--experimental-loader",
        "-C",
        "--conditions",
        "--env-file",
    ];
    let mut script = script_argument(clues.args, &command, &valued)?;
    if ["run", "serve"].contains(&script) {
        let index = clues.args.iter().position(|arg| arg == script)?;
        script = script_argument(&clues.args[index..], &command, &valued)?;
    }
    // pm2 runs the script inside its own and tells name and script in the environment.
    if place::file_name(script).starts_with("ProcessContainer") {
        if let Some(name) = clues.environment.get("name") {
            return Some(name.to_owned());
        }
        script = clues.environment.get("pm_exec_path").unwrap_or(script);
    }
    let path = place::absolute(script, clues.cwd);
    package_name(&path, clues).or_else(|| place::script_name(script, clues.cwd))
}

/// `name` of the nearest package.json. A program out of `node_modules` belongs to the project that holds them.
fn package_name(path: &str, clues: &Clues<'_>) -> Option<String> {
    let project = path
        .split("/node_modules/")
        .next()
        .filter(|project| *project != path);
    let start = project.map_or_else(|| parent(path), Some);
    nearest(start, clues).or_else(|| nearest(parent(path), clues))
}

fn nearest(start: Option<&str>, clues: &Clues<'_>) -> Option<String> {
    let directories = std::iter::successors(start, |directory| parent(directory)).take(DEEPEST);
    directories
        .filter_map(|directory| (clues.read)(&format!("{directory}/package.json")))
        .find_map(|text| serde_json::from_slice::<Package>(&text).ok()?.name)
        .map(|name| name.rsplit('/').next().unwrap_or(&name).to_owned())
        .filter(|name| !name.is_empty())
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}
