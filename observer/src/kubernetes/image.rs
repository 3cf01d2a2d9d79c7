//! References of images: `[host[:port]/]path[:tag][@digest]` (distribution/reference).

/// A reference in its parts, each as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ImageReference {
    /// `container.image.name`.
    pub(super) name: String,
    pub(super) tag: Option<String>,
    /// `sha256:…`.
    pub(super) digest: Option<String>,
}

impl ImageReference {
    /// `None` for a bare id, which names no image.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        if text.is_empty() || text.starts_with("sha256:") {
            return None;
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            // A colon before a slash is a registry's port.
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let part = |part: &str| (!part.is_empty()).then(|| part.to_owned());
        Some(Self {
            name: part(name)?,
            tag: tag.and_then(part),
            digest: digest.and_then(part),
        })
    }

    /// `container.image.tags`: runtimes take `latest` where neither a tag nor a digest is written.
    pub(super) fn tag_or_latest(&self) -> Option<&str> {
        self.tag
            .as_deref()
            .or_else(|| self.digest.is_none().then_some("latest"))
    }

    /// `service.version` by the conventions: `<tag>@<digest>`, `<digest>` or `<tag>`.
    pub(super) fn version(&self) -> Option<String> {
        match (&self.tag, &self.digest) {
            (Some(tag), Some(digest)) => Some(format!("{tag}@{digest}")),
            (one, other) => other.clone().or_else(|| one.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_comes_apart_at_its_tag_and_digest_only() {
        for (text, name, tag, digest, version) in [
            ("nginx", "nginx", None, None, None),
            ("nginx:1.27", "nginx", Some("1.27"), None, Some("1.27")),
            (
                "registry:5000/shop/api",
                "registry:5000/shop/api",
                None,
                None,
                None,
            ),
            (
                "registry:5000/shop/api:v2@sha256:ab",
                "registry:5000/shop/api",
                Some("v2"),
                Some("sha256:ab"),
                Some("v2@sha256:ab"),
            ),
            (
                "docker-pullable://shop/api@sha256:ab",
                "shop/api",
                None,
                Some("sha256:ab"),
                Some("sha256:ab"),
            ),
        ] {
            let parsed = ImageReference::parse(text).unwrap();
            assert_eq!(
                (
                    &*parsed.name,
                    parsed.tag.as_deref(),
                    parsed.digest.as_deref()
                ),
                (name, tag, digest),
                "{text}"
            );
            assert_eq!(parsed.version().as_deref(), version, "{text}");
        }
        for text in [
            "",
            "sha256:0123",
            ":tag",
            "@sha256:ab",
            "docker://sha256:0123",
        ] {
            assert_eq!(ImageReference::parse(text), None, "{text}");
        }
        let latest = |text| {
            ImageReference::parse(text)?
                .tag_or_latest()
                .map(str::to_owned)
        };
        assert_eq!(latest("nginx").as_deref(), Some("latest"));
        assert_eq!(latest("nginx@sha256:ab"), None);
    }
}
