//! The bill of materials: CycloneDX 1.6, JSON (<https://cyclonedx.org/docs/1.6/json/>).

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::components::{self, Component, Components};
use super::sha256;
use super::source::Source;

/// The document for one executable.
///
/// # Errors
/// When the executable can't be read.
pub(crate) fn document(source: &Source, binary: &Path, components: &Components) -> Result<String> {
    let executable = sha256(&fs::read(binary)?);
    let time = source.time("%Y-%m-%dT%H:%M:%SZ")?;
    let document = bill(source, &executable, &time, components);
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn bill(source: &Source, executable: &str, time: &str, components: &Components) -> Value {
    let own = components::own(source.version);
    let libraries: Vec<Value> = components
        .iter()
        .filter(|(url, _)| **url != own)
        .map(|(url, component)| library(url, component))
        .collect();
    let edges: Vec<Value> = components
        .iter()
        .map(|(url, component)| json!({"ref": url, "dependsOn": component.uses}))
        .collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial(&format!("{}{executable}", source.commit)),
        "version": 1,
        "metadata": {
            "timestamp": time,
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "observer",
                "version": source.version,
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
                "hashes": [{"alg": "SHA-256", "content": executable}],
                "properties": [{"name": "observer:commit", "value": source.commit}],
            },
        },
        "components": libraries,
        "dependencies": edges,
    })
}

fn library(url: &str, component: &Component) -> Value {
    let mut library = json!({
        "type": "library",
        "bom-ref": url,
        "name": component.name,
        "version": component.version,
    });
    if let Some(licence) = &component.licence {
        library["licenses"] = json!([{"expression": licence}]);
    }
    // Libraries of the workspace have neither: nobody can fetch them by such an address.
    if let Some(checksum) = &component.checksum {
        library["purl"] = json!(url);
        library["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    library
}

/// A UUID of the eighth version (RFC 9562): the same for the same content.
fn serial(content: &str) -> String {
    let sum = sha256(content.as_bytes());
    format!(
        "urn:uuid:{}-{}-8{}-a{}-{}",
        &sum[..8],
        &sum[8..12],
        &sum[13..16],
        &sum[17..20],
        &sum[20..32]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_of_this_tree_is_whole() {
        let components = components::of_daemon().unwrap();
        let source = Source {
            version: env!("CARGO_PKG_VERSION"),
            commit: "c0ffee".to_owned(),
            epoch: 0,
        };
        let bill = bill(
            &source,
            &"0".repeat(64),
            "1970-01-01T00:00:00Z",
            &components,
        );
        let names = |key: &str| -> Vec<&str> {
            let list = bill[key].as_array().unwrap();
            list.iter().filter_map(|it| it["name"].as_str()).collect()
        };
        let libraries = names("components");
        for name in ["aya", "tokio", "observer-abi", "observer-protocol", "ring"] {
            assert!(libraries.contains(&name), "{name}: {libraries:?}");
        }
        for name in [
            "observer",
            "clap_derive",
            "rcgen",
            "xtask",
            "observer-tests",
        ] {
            assert!(!libraries.contains(&name), "{name}");
        }
        for library in bill["components"].as_array().unwrap() {
            assert!(library["licenses"].is_array(), "{library}");
            let is_ours = library["name"].as_str().unwrap().starts_with("observer-");
            assert_eq!(library["hashes"].is_array(), !is_ours, "{library}");
        }
        let refs: Vec<&Value> = std::iter::once(&bill["metadata"]["component"]["bom-ref"])
            .chain(
                bill["components"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|it| &it["bom-ref"]),
            )
            .collect();
        for edge in bill["dependencies"].as_array().unwrap() {
            assert!(refs.contains(&&edge["ref"]), "{edge}");
            for used in edge["dependsOn"].as_array().unwrap() {
                assert!(refs.contains(&used), "{used}");
            }
        }
    }

    #[test]
    fn a_serial_number_is_a_uuid_of_its_content() {
        let one = serial("one");
        assert_eq!(one, serial("one"));
        assert_ne!(one, serial("two"));
        assert_eq!(one.len(), "urn:uuid:".len() + 36);
        assert_eq!(&one[23..24], "8", "{one}");
    }
}
