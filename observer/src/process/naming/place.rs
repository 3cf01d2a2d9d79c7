//! Names from where a script lies.

/// File names that say nothing of the service.
const GENERIC_FILES: [&str; 22] = [
    "__init__",
    "__main__",
    "app",
    "application",
    "artisan",
    "asgi",
    "boot",
    "bootstrap",
    "cli",
    "console",
    "entrypoint",
    "index",
    "main",
    "manage",
    "run",
    "runserver",
    "server",
    "service",
    "start",
    "web",
    "worker",
    "wsgi",
];
/// Directories inside a project: the project's own lies further up.
const INNER_DIRECTORIES: [&str; 18] = [
    "app",
    "bin",
    "build",
    "cmd",
    "code",
    "current",
    "dist",
    "html",
    "lib",
    "libexec",
    "out",
    "public",
    "quarkus-app",
    "releases",
    "server",
    "src",
    "target",
    "www",
];
/// Directories of the system: above them is no project.
const SYSTEM_DIRECTORIES: [&str; 15] = [
    "etc",
    "home",
    "local",
    "media",
    "mnt",
    "opt",
    "root",
    "run",
    "sbin",
    "share",
    "srv",
    "tmp",
    "usr",
    "var",
    "workspace",
];

/// The last part of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A file name without its last extension.
pub(super) fn stem(path: &str) -> &str {
    let file = file_name(path);
    file.rsplit_once('.')
        .map_or(file, |(stem, _)| if stem.is_empty() { file } else { stem })
}

/// The path, made absolute with the working directory.
pub(super) fn absolute(path: &str, cwd: Option<&str>) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    match cwd {
        Some(cwd) if !path.starts_with('/') => format!("{}/{path}", cwd.trim_end_matches('/')),
        _ => path.to_owned(),
    }
}

/// The script's stem, or where that says nothing (`main`, `server`, …), the directory's name.
pub(super) fn script_name(script: &str, cwd: Option<&str>) -> Option<String> {
    let stem = stem(script);
    if stem.is_empty() {
        return None;
    }
    if !is_generic(stem) {
        return Some(stem.to_owned());
    }
    let path = absolute(script, cwd);
    let directory = path
        .rsplit_once('/')
        .and_then(|(directory, _)| directory_name(directory));
    Some(directory.unwrap_or_else(|| stem.to_owned()))
}

/// Whether a module's or file's name says nothing.
pub(super) fn is_generic(stem: &str) -> bool {
    GENERIC_FILES.contains(&stem)
}

/// The project that a directory belongs to: the nearest part that is neither of the system nor a project's inside
/// (`src`, `dist`, `releases/20240101`); failing that the nearest inside one, so `/srv/app` is `app`.
pub(super) fn directory_name(directory: &str) -> Option<String> {
    let mut inner = None;
    for part in directory
        .rsplit('/')
        .filter(|part| !part.is_empty() && *part != "." && *part != "..")
    {
        if SYSTEM_DIRECTORIES.contains(&part) {
            break;
        }
        let passing = part.starts_with('.') || part.bytes().all(|byte| byte.is_ascii_digit());
        if passing {
            continue;
        }
        if !INNER_DIRECTORIES.contains(&part) {
            return Some(part.to_owned());
        }
        inner = inner.or(Some(part));
    }
    inner.map(str::to_owned)
}
