//! Names of Java programs.

use super::{Clues, place};

/// Options of the launcher that take the next argument with them (java(1)).
const VALUED: [&str; 12] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--add-exports",
    "--add-opens",
    "--add-reads",
    "--patch-module",
    "--limit-modules",
];
/// Well-known main classes of servers whose own name would say nothing.
const SERVERS: [(&str, &str); 8] = [
    ("org.apache.catalina.startup.", "tomcat"),
    ("org.eclipse.jetty.", "jetty"),
    ("kafka.Kafka", "kafka"),
    ("org.apache.zookeeper.", "zookeeper"),
    ("org.elasticsearch.", "elasticsearch"),
    ("org.opensearch.", "opensearch"),
    ("org.apache.cassandra.", "cassandra"),
    ("org.jboss.", "wildfly"),
];

pub(super) fn name(clues: &Clues<'_>) -> Option<String> {
    let properties = [
        "-Dotel.service.name=",
        "-Dspring.application.name=",
        "--spring.application.name=",
    ];
    let given = properties
        .iter()
        .find_map(|property| clues.args.iter().find_map(|arg| arg.strip_prefix(property)));
    if let Some(name) = given.filter(|name| !name.is_empty()) {
        return Some(name.to_owned());
    }
    let mut rest = clues.args.iter().skip(1).map(String::as_str);
    while let Some(arg) = rest.next() {
        match arg {
            "-jar" => return from_archive(rest.next()?, clues),
            "-m" | "--module" => return main_class(rest.next()?.rsplit('/').next()?, clues),
            _ if VALUED.contains(&arg) => drop(rest.next()),
            _ if arg.starts_with('-') || arg.starts_with('@') => {}
            _ => return main_class(arg, clues),
        }
    }
    None
}

fn main_class(class: &str, clues: &Clues<'_>) -> Option<String> {
    if let Some((_, server)) = SERVERS.iter().find(|(prefix, _)| class.starts_with(prefix)) {
        return Some((*server).to_owned());
    }
    // Spring Boot, unpacked: the launcher says nothing, the directory does.
    if class.starts_with("org.springframework.boot.loader.") {
        return clues.cwd.and_then(place::directory_name);
    }
    if class.ends_with(".java") {
        return place::script_name(class, clues.cwd);
    }
    Some(class.rsplit('.').next().unwrap_or(class).to_owned())
}

/// `orders-1.2.3-SNAPSHOT.jar` is `orders`; `/srv/orders/app.jar` too.
fn from_archive(path: &str, clues: &Clues<'_>) -> Option<String> {
    let file = place::file_name(path);
    let file = file
        .strip_suffix(".jar")
        .or_else(|| file.strip_suffix(".war"))
        .unwrap_or(file);
    let bytes = file.as_bytes();
    let version = (1..bytes.len()).find(|index| {
        bytes[index - 1] == b'-' && bytes[*index].is_ascii_digit()
            || bytes[index - 1..].starts_with(b"-v")
                && bytes.get(index + 1).is_some_and(u8::is_ascii_digit)
    });
    let mut stem = version.map_or(file, |index| &file[..index - 1]);
    for suffix in [
        "-SNAPSHOT",
        "-all",
        "-fat",
        "-exec",
        "-shaded",
        "-uber",
        "-runner",
        "-standalone",
        "-jar-with-dependencies",
    ] {
        stem = stem.strip_suffix(suffix).unwrap_or(stem);
    }
    // `start.jar` of an unpacked Jetty and Quarkus's `quarkus-run.jar`.
    if place::is_generic(stem) || stem == "quarkus-run" {
        return place::script_name(
            &place::absolute(&format!("{}/app", parent(path)), clues.cwd),
            clues.cwd,
        );
    }
    Some(stem.to_owned())
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(parent, _)| parent)
}
