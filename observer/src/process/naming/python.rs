//! Names of Python programs.

use super::{Clues, place};

/// Programs that run somebody's application: the application names the service.
const APPLICATION_SERVERS: [&str; 9] = [
    "daphne",
    "fastapi",
    "flask",
    "granian",
    "gunicorn",
    "hypercorn",
    "uvicorn",
    "uwsgi",
    "waitress-serve",
];
/// Their options that take no value, so that the next argument may be the application.
const FLAGS: [&str; 12] = [
    "--access-log",
    "--daemon",
    "--debug",
    "--factory",
    "--no-access-log",
    "--no-reload",
    "--preload",
    "--proxy-headers",
    "--reload",
    "--reuse-port",
    "-D",
    "-R",
];
/// Modules of the standard library's that serve: their dotted name is the best there is.
const STANDARD: [&str; 5] = ["http", "wsgiref", "xmlrpc", "asyncio", "test"];

enum Program<'a> {
    Module(&'a str),
    Script(&'a str),
    Inline,
}

pub(super) fn name(clues: &Clues<'_>) -> Option<String> {
    // gunicorn rewrites its command line: `gunicorn: master [shop.wsgi]`.
    let title = clues.args.first()?;
    if let Some(application) = title
        .strip_prefix("gunicorn: ")
        .and_then(|rest| rest.split_once('[')?.1.strip_suffix(']'))
    {
        return Some(from_module(application, clues.cwd));
    }
    let (program, rest) = program(clues.args)?;
    let launcher = match program {
        Program::Inline => return None,
        Program::Module(module) => module,
        Program::Script(script) => place::file_name(script),
    };
    if APPLICATION_SERVERS.contains(&launcher) {
        let variable = clues
            .environment
            .get("FLASK_APP")
            .filter(|_| launcher == "flask");
        return application(rest, clues.cwd)
            .or_else(|| Some(place::stem(variable?).to_owned()))
            .or_else(|| Some(launcher.to_owned()));
    }
    if launcher == "celery" {
        return Some(application(rest, clues.cwd).unwrap_or_else(|| launcher.to_owned()));
    }
    if launcher == "manage.py" || launcher == "django-admin" {
        let settings = clues
            .environment
            .get("DJANGO_SETTINGS_MODULE")
            .and_then(|module| module.split('.').next());
        if let Some(project) = settings {
            return Some(project.to_owned());
        }
    }
    match program {
        Program::Module(module) => {
            let first = module.split('.').next().unwrap_or(module);
            Some(if STANDARD.contains(&first) {
                module.to_owned()
            } else {
                from_module(module, clues.cwd)
            })
        }
        Program::Script(script) => place::script_name(script, clues.cwd),
        Program::Inline => None,
    }
}

/// What the interpreter runs, and the arguments after it.
fn program(args: &[String]) -> Option<(Program<'_>, &[String])> {
    let mut index = 1;
    while let Some(arg) = args.get(index) {
        index += 1;
        if arg == "--" {
            return Some((Program::Script(args.get(index)?), &args[index..]));
        }
        let Some(options) = arg.strip_prefix('-').filter(|options| !options.is_empty()) else {
            return Some((Program::Script(arg), &args[index..]));
        };
        if options.starts_with('-') {
            index += usize::from(arg == "--check-hash-based-pycs");
            continue;
        }
        // Short options may be glued together: `-um shop`, `-Wignore`.
        for (position, option) in options.char_indices() {
            let glued = &options[position + option.len_utf8()..];
            match option {
                'c' => return Some((Program::Inline, &[])),
                'm' if glued.is_empty() => {
                    return Some((Program::Module(args.get(index)?), args.get(index + 1..)?));
                }
                'm' => return Some((Program::Module(glued), &args[index..])),
                'W' | 'X' => {
                    index += usize::from(glued.is_empty());
                    break;
                }
                _ => {}
            }
        }
    }
    None
}

/// The application among an application server's arguments: `shop.wsgi:application`, `--app shop`, `shop.wsgi`.
pub(super) fn application(args: &[String], cwd: Option<&str>) -> Option<String> {
    let previous = |index: usize| {
        index
            .checked_sub(1)
            .and_then(|index| args.get(index))
            .map(String::as_str)
    };
    let named = ["--app", "-A", "--module", "-w", "--wsgi-file"];
    let explicit = args.iter().enumerate().find(|(index, arg)| {
        let option = previous(*index).unwrap_or_default();
        arg.split_once(':').is_some_and(|(module, object)| {
            is_module(module) && is_module(object.trim_end_matches("()"))
        }) && (!option.starts_with("--") || FLAGS.contains(&option) || named.contains(&option))
            && !["-b", "-h"].contains(&option)
    });
    let by_option = || {
        args.iter().enumerate().find(|(index, arg)| {
            previous(*index).is_some_and(|option| named.contains(&option))
                && is_module(arg)
                && !arg.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let positional = || {
        let commands = ["run", "dev", "worker", "beat"];
        args.iter().enumerate().find(|(index, arg)| {
            (is_module(arg) || arg.ends_with(".py"))
                && !commands.contains(&arg.as_str())
                && previous(*index).is_none_or(|option| {
                    !option.starts_with('-') || option.contains('=') || FLAGS.contains(&option)
                })
        })
    };
    let (_, found) = explicit.or_else(by_option).or_else(positional)?;
    if found.ends_with(".py") {
        return place::script_name(found, cwd);
    }
    Some(from_module(found.split(':').next().unwrap_or(found), cwd))
}

/// The part of a dotted name that names the service: `shop.wsgi` and `src.shop.main` are `shop`. Where none does
/// (`app:app`), the working directory, else the module.
fn from_module(module: &str, cwd: Option<&str>) -> String {
    let module = module.split(':').next().unwrap_or(module);
    let telling = module
        .split('.')
        .find(|part| !place::is_generic(part) && *part != "src" && !part.is_empty());
    telling
        .map(str::to_owned)
        .or_else(|| cwd.and_then(place::directory_name))
        .unwrap_or_else(|| module.split('.').next().unwrap_or(module).to_owned())
}

fn is_module(text: &str) -> bool {
    !text.is_empty()
        && text.split('.').all(|part| {
            part.starts_with(|first: char| first.is_alphabetic() || first == '_')
                && part
                    .chars()
                    .all(|char| char.is_alphanumeric() || char == '_')
        })
}
