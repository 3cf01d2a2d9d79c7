//! Objects against the OpenAPI description that Kubernetes' own API server publishes: no unknown field, no wrong type,
//! nothing missing that it requires.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::command;

/// The module that the description is a file of.
const MODULE: &str = "k8s.io/kubernetes@v1.34.1";

/// Kinds that operators and other distributions define, so that this description has none of them.
const FOREIGN: [&str; 2] = ["PodMonitor", "SecurityContextConstraints"];

pub(super) struct Schema {
    definitions: Value,
}

impl Schema {
    /// Fetches the description by Go, if it is not there yet.
    ///
    /// # Errors
    /// When there is no Go, or the module can't be had.
    pub(super) fn fetch(home: &Path) -> Result<Self> {
        let said = command::output(
            Command::new("go")
                .args(["mod", "download", "-json", MODULE])
                .current_dir(home),
        )
        .context("fetching Kubernetes' description of its API (is Go installed?)")?;
        let said: Value = serde_json::from_str(&said)?;
        let folder = said["Dir"].as_str().context("Go names no folder")?;
        let file = Path::new(folder).join("api/openapi-spec/swagger.json");
        let text =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let mut whole: Value = serde_json::from_str(&text)?;
        Ok(Self {
            definitions: whole["definitions"].take(),
        })
    }

    /// Checks all objects of a text; gives how many they are.
    ///
    /// # Errors
    /// When one is not as the API has it; every such place is named.
    pub(super) fn check(&self, text: &str) -> Result<usize> {
        let (mut count, mut wrong) = (0, Vec::new());
        for document in text.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(document)?;
            if object.is_null() {
                continue;
            }
            count += 1;
            let kind = object["kind"].as_str().unwrap_or_default();
            if FOREIGN.contains(&kind) {
                continue;
            }
            let schema = self.of(&object).with_context(|| {
                format!("Kubernetes knows no {kind} in {}", object["apiVersion"])
            })?;
            self.look(&object, schema, kind, &mut wrong);
        }
        ensure!(count > 0, "no object at all");
        if !wrong.is_empty() {
            bail!("not as Kubernetes' API has it:\n{}", wrong.join("\n"));
        }
        Ok(count)
    }

    /// The definition of an object's kind.
    fn of(&self, object: &Value) -> Option<&Value> {
        let version = object["apiVersion"].as_str()?;
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        self.definitions.as_object()?.values().find(|definition| {
            let kinds = definition["x-kubernetes-group-version-kind"].as_array();
            kinds.is_some_and(|kinds| {
                kinds.len() == 1
                    && kinds[0]["group"] == group
                    && kinds[0]["version"] == version
                    && kinds[0]["kind"] == object["kind"]
            })
        })
    }

    fn look(&self, value: &Value, schema: &Value, place: &str, wrong: &mut Vec<String>) {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.trim_start_matches("#/definitions/");
            // A quantity may be written as a number.
            if name.ends_with("resource.Quantity") && value.is_number() {
                return;
            }
            return match self.definitions.get(name) {
                Some(definition) => self.look(value, definition, place, wrong),
                None => wrong.push(format!("{place}: no definition of {name}")),
            };
        }
        let is_right = match schema["type"].as_str() {
            Some("string") if schema["format"] == "int-or-string" => {
                value.is_string() || value.is_i64()
            }
            Some("string") => value.is_string(),
            Some("integer") => value.is_i64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            _ => true,
        };
        if !is_right {
            wrong.push(format!("{place}: {value} is no {}", schema["type"]));
            return;
        }
        for (at, item) in value.as_array().into_iter().flatten().enumerate() {
            self.look(item, &schema["items"], &format!("{place}[{at}]"), wrong);
        }
        let properties = schema["properties"].as_object();
        for (key, inner) in value.as_object().into_iter().flatten() {
            let place = format!("{place}.{key}");
            match properties.and_then(|properties| properties.get(key)) {
                Some(known) => self.look(inner, known, &place, wrong),
                None if schema["additionalProperties"].is_object() => {
                    self.look(inner, &schema["additionalProperties"], &place, wrong);
                }
                None if properties.is_some() => wrong.push(format!("{place}: no such field")),
                None => {}
            }
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            let key = required.as_str().unwrap_or_default();
            if value.get(key).is_none() {
                wrong.push(format!("{place}: {key} is missing"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        Schema {
            definitions: json!({
                "Thing": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": {
                        "apiVersion": {"type": "string"},
                        "kind": {"type": "string"},
                        "spec": {"$ref": "#/definitions/Spec"},
                    },
                    "x-kubernetes-group-version-kind": [{"group": "test", "version": "v1", "kind": "Thing"}],
                },
                "Spec": {
                    "type": "object",
                    "properties": {
                        "count": {"type": "integer"},
                        "port": {"type": "string", "format": "int-or-string"},
                        "names": {"type": "array", "items": {"type": "string"}},
                        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    },
                },
            }),
        }
    }

    fn checked(spec: &str) -> Result<usize> {
        schema().check(&format!("apiVersion: test/v1\nkind: Thing\n{spec}"))
    }

    #[test]
    fn what_the_api_knows_is_accepted() {
        let spec = "spec:\n  count: 1\n  port: http\n  names: [a]\n  labels:\n    any: thing\n";
        assert_eq!(checked(spec).unwrap(), 1);
        assert_eq!(checked("spec: {port: 80}\n---\n# nothing\n").unwrap(), 1);
    }

    #[test]
    fn what_it_does_not_know_is_named_with_its_place() {
        for (spec, says) in [
            ("", "Thing: spec is missing"),
            ("spec: {cuont: 1}", "Thing.spec.cuont: no such field"),
            (
                "spec: {count: many}",
                "Thing.spec.count: \"many\" is no \"integer\"",
            ),
            (
                "spec: {names: [a, 1]}",
                "Thing.spec.names[1]: 1 is no \"string\"",
            ),
            (
                "spec: {labels: {a: true}}",
                "Thing.spec.labels.a: true is no \"string\"",
            ),
        ] {
            let error = checked(spec).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(
            schema()
                .check("apiVersion: test/v2\nkind: Thing\n")
                .is_err()
        );
        assert!(schema().check("").is_err());
    }
}
