//! Helm, built from its Go module.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, workspace};

/// The module's program, and the version that the rendered files come from.
const PROGRAM: &str = "helm.sh/helm/v4/cmd/helm";
const VERSION: &str = "v4.0.0";

/// The version of Kubernetes that is rendered for.
const KUBERNETES: &str = "1.33.0";

pub(super) struct Helm {
    program: PathBuf,
    /// What it writes: caches and settings of nobody else.
    home: PathBuf,
}

impl Helm {
    /// The one that is named, else one that is built with the machine's Go, once.
    ///
    /// # Errors
    /// When there is no Go, or it can't build.
    pub(super) fn prepare(named: Option<&Path>) -> Result<Self> {
        let folder = workspace::target().join("helm");
        let home = folder.join("home");
        fs::create_dir_all(&home)?;
        let program = match named {
            Some(program) => std::path::absolute(program)?,
            None => built(&folder)?,
        };
        if !program.is_file() {
            bail!("{} is no file", program.display());
        }
        Ok(Self { program, home })
    }

    /// A folder of its own, outside of any Go module.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// `helm lint`, in which warnings are errors.
    ///
    /// # Errors
    /// When it finds anything.
    pub(super) fn lint(&self, chart: &Path) -> Result<()> {
        command::run(self.command().args(["lint", "--strict"]).arg(chart))
    }

    /// The objects as they would be sent to a cluster, for a release `observer` in a namespace `observer`.
    ///
    /// # Errors
    /// When the values are refused, or a template is wrong.
    pub(super) fn render(
        &self,
        chart: &Path,
        values: Option<&Path>,
        more: &[&str],
    ) -> Result<String> {
        let mut helm = self.command();
        helm.args(["template", "observer"]).arg(chart).args([
            "--namespace",
            "observer",
            "--kube-version",
            KUBERNETES,
        ]);
        if let Some(values) = values {
            helm.arg("--values").arg(values);
        }
        command::output(helm.args(more))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(name, &self.home);
        }
        // No cluster of whoever runs this is asked.
        command.env("KUBECONFIG", self.home.join("none"));
        command
    }
}

fn built(folder: &Path) -> Result<PathBuf> {
    let program = folder.join(VERSION).join("helm");
    if program.is_file() {
        return Ok(program);
    }
    command::run(
        Command::new("go")
            .arg("install")
            .arg(format!("{PROGRAM}@{VERSION}"))
            .env("GOBIN", folder.join(VERSION))
            .env("GOFLAGS", "-trimpath"),
    )
    .context("building Helm (is Go installed?)")?;
    Ok(program)
}
