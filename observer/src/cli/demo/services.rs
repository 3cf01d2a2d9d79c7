//! The demo's processes.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{self, Child, Command, Stdio},
};

use anyhow::{Context, bail};

use super::service::Name;

/// The running services. They are killed when this is dropped, and by the kernel when the thread that started them
/// ends: start them on a thread that lives as long as the demo.
#[derive(Debug)]
pub struct Services {
    children: Vec<Child>,
}

impl Services {
    /// Starts payments, catalog and gateway on free loopback ports, then `rate` requests a second; returns when all
    /// of them run.
    ///
    /// # Errors
    /// A process could not be started or ended at once; those that run are killed.
    pub fn start(rate: u32) -> anyhow::Result<Self> {
        let mut services = Self {
            children: Vec::new(),
        };
        let payments = services.add(Name::Payments, &[])?;
        let catalog = services.add(Name::Catalog, &[])?;
        let gateway = services.add(Name::Gateway, &[&catalog, &payments])?;
        services.add(Name::Load, &[&gateway, &rate.to_string()])?;
        Ok(services)
    }

    /// Process ids.
    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// Starts one and waits for the line that says it is there: its address.
    fn add(&mut self, name: Name, arguments: &[&str]) -> anyhow::Result<String> {
        let name = name.as_str();
        let executable = env::current_exe().context("cannot find observer's own executable")?;
        let mut child = Command::new(executable)
            .arg0(format!("observer-demo-{name}"))
            .args(["demo-service", "--parent", &process::id().to_string(), name])
            .args(arguments)
            // What an operator would do to name a service; it is all that the services have to do with tracing.
            .env("OTEL_SERVICE_NAME", name)
            .env_remove("OTEL_RESOURCE_ATTRIBUTES")
            // Ctrl-C is for the demo, which stops them in its own time.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the demo's {name} service"))?;
        let said = child.stdout.take();
        self.children.push(child);
        let mut line = String::new();
        if let Some(said) = said {
            BufReader::new(said.take(256))
                .read_line(&mut line)
                .with_context(|| format!("the demo's {name} service"))?;
        }
        if line.is_empty() {
            bail!("the demo's {name} service ended at once");
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        // The load first, so that the last requests do not fail for want of a service.
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
