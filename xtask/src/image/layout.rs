//! The OCI image layout (<https://github.com/opencontainers/image-spec>, 1.1): one layer, its configuration, a manifest, the index.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use crate::dist::source::Source;
use crate::dist::tree::{self, File};
use crate::dist::{gzip, sha256};

const TITLE: &str = "observer";
const DESCRIPTION: &str = "Traces services that carry no instrumentation";

/// An image as it was made.
pub(super) struct Image {
    /// Of the manifest, as `sha256:…`: by this it is named.
    pub(super) digest: String,
    /// Of all layers, compressed.
    pub(super) bytes: u64,
}

/// Makes the layout in `folder`.
///
/// # Errors
/// When a file can't be read or written, or `tar` or `gzip` fails.
pub(super) fn make(source: &Source, files: &[File], work: &Path, folder: &Path) -> Result<Image> {
    let root = work.join("root");
    tree::lay(&root, files, source)?;
    let tar = work.join("layer.tar");
    tree::archive(&root, ".", source, &tar)?;
    let plain = fs::read(&tar)?;
    let layer = gzip(&plain, work)?;
    let bytes = layer.len() as u64;

    let blobs = Blobs {
        folder: folder.join("blobs/sha256"),
    };
    fs::create_dir_all(&blobs.folder)?;
    let created = source.time("%Y-%m-%dT%H:%M:%SZ")?;
    let layer = blobs.add("application/vnd.oci.image.layer.v1.tar+gzip", &layer)?;
    let configuration = configuration(source, &created, &sha256(&plain));
    let configuration = blobs.add(
        "application/vnd.oci.image.config.v1+json",
        &serde_json::to_vec(&configuration)?,
    )?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": configuration,
        "layers": [layer],
        "annotations": labels(source, &created),
    });
    let manifest = blobs.add(
        "application/vnd.oci.image.manifest.v1+json",
        &serde_json::to_vec(&manifest)?,
    )?;
    let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
    let mut named = manifest;
    named["platform"] = json!({"architecture": "amd64", "os": "linux"});
    named["annotations"] = json!({"org.opencontainers.image.ref.name": source.version});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [named],
    });
    fs::write(folder.join("index.json"), serde_json::to_vec(&index)?)?;
    fs::write(
        folder.join("oci-layout"),
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    Ok(Image { digest, bytes })
}

/// What stands in the layout under the digest of its content.
struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    /// Adds one and describes it.
    fn add(&self, kind: &str, content: &[u8]) -> Result<Value> {
        let sum = sha256(content);
        fs::write(self.folder.join(&sum), content)?;
        Ok(json!({
            "mediaType": kind,
            "digest": format!("sha256:{sum}"),
            "size": content.len(),
        }))
    }
}

fn configuration(source: &Source, created: &str, layer: &str) -> Value {
    json!({
        "created": created,
        "architecture": "amd64",
        "os": "linux",
        "config": {
            // Root by number, with the few capabilities that the container is given: for other users a container's
            // capabilities are lost when the program starts, unless its runtime makes them ambient.
            "User": "0:0",
            "Entrypoint": ["/usr/bin/observer"],
            "Cmd": ["run", "--config", "/etc/observer/observer.yaml"],
            "Env": ["PATH=/usr/bin"],
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Labels": labels(source, created),
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        "history": [{"created": created, "created_by": "cargo xtask image"}],
    })
}

fn labels(source: &Source, created: &str) -> Value {
    json!({
        "org.opencontainers.image.title": TITLE,
        "org.opencontainers.image.description": DESCRIPTION,
        "org.opencontainers.image.version": source.version,
        "org.opencontainers.image.revision": source.commit,
        "org.opencontainers.image.created": created,
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            version: "1.2.3",
            commit: "c0ffee".to_owned(),
            epoch: 1_700_000_000,
        }
    }

    /// An image of two files, made in a folder of its own.
    fn made(name: &str) -> (PathBuf, Image) {
        let folder = std::env::temp_dir().join(format!("observer-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let work = folder.join("work");
        fs::create_dir_all(&work).unwrap();
        let files = [
            File::written("etc/observer/observer.yaml", "print: off\n"),
            File::copied("usr/bin/observer", 0o755, Path::new("/proc/self/comm")),
        ];
        let image = make(&source(), &files, &work, &folder.join("layout")).unwrap();
        (folder, image)
    }

    #[test]
    fn every_digest_of_the_layout_is_that_of_its_content() {
        let (folder, image) = made("digests");
        let layout = folder.join("layout");
        let read = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            let sum = digest.strip_prefix("sha256:").unwrap();
            let content = fs::read(layout.join("blobs/sha256").join(sum)).unwrap();
            assert_eq!(sha256(&content), sum);
            assert_eq!(descriptor["size"], content.len());
            content
        };
        let parse = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
        let index = parse(&fs::read(layout.join("index.json")).unwrap());
        assert_eq!(index["manifests"][0]["digest"], image.digest);
        let manifest = parse(&read(&index["manifests"][0]));
        let configuration = parse(&read(&manifest["config"]));
        assert_eq!(configuration["config"]["User"], "0:0");
        let layer = read(&manifest["layers"][0]);
        assert_eq!(image.bytes, layer.len() as u64);
        let packed = folder.join("packed.gz");
        fs::write(&packed, &layer).unwrap();
        let plain = std::process::Command::new("gzip")
            .arg("-dc")
            .arg(&packed)
            .output()
            .unwrap();
        let sum = format!("sha256:{}", sha256(&plain.stdout));
        assert_eq!(configuration["rootfs"]["diff_ids"][0], sum);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_same_files_make_the_same_image() {
        let (one, first) = made("same-one");
        let (two, second) = made("same-two");
        assert_eq!(first.digest, second.digest);
        for folder in [one, two] {
            fs::remove_dir_all(folder).unwrap();
        }
    }
}
