//! Who a process is: its service's name, its container.

use std::fs;
use std::path::PathBuf;

use crate::behaviour::{Behaviour, Drive};
use crate::stage::Stage;

/// The name that the Python server has in its environment.
pub(crate) const SERVICE: &str = "inventory";
/// An id as container runtimes give.
const ID: &str = "3f4e8a0c5d6b7e9f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7081";

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "service name",
        drive: service,
    },
    Behaviour {
        name: "container id",
        drive: container,
    },
];

/// A control group named as docker names them; removed when dropped, if its process has ended.
pub(crate) struct Container(PathBuf);

impl Container {
    /// Puts a process into one; the error is why it can't be.
    pub(crate) fn around(pid: u32) -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mount = |fits: &dyn Fn(&str, &str) -> bool| {
            mounts.lines().find_map(|line| {
                let mut words = line.split(' ').skip(1);
                let (place, kind, options) = (words.next()?, words.next()?, words.next()?);
                fits(kind, options).then(|| PathBuf::from(place))
            })
        };
        let place = mount(&|kind, _| kind == "cgroup2")
            .or_else(|| {
                mount(&|kind, options| kind == "cgroup" && options.contains("name=systemd"))
            })
            .ok_or("no control groups are mounted")?;
        let folder = place.join(format!("docker-{ID}.scope"));
        let put = fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join("cgroup.procs"), pid.to_string()));
        let container = Self(folder);
        put.map(|()| container)
            .map_err(|error| format!("control groups can't be written here: {error}"))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn service(stage: &Stage) -> Drive {
    let port = stage.python.port();
    Drive::check(0, move |evidence| {
        let spans = evidence.served(port, "/");
        assert!(!spans.is_empty(), "no span at all");
        for span in spans {
            assert_eq!(span.service(), SERVICE, "{span:?}");
        }
    })
}

fn container(stage: &Stage) -> Drive {
    if let Err(reason) = &stage.container {
        return Drive::Skip(reason.clone());
    }
    Drive::check(0, |evidence| {
        let name = format!("service_name=\"{SERVICE}\"");
        let id = format!("container_id=\"{ID}\"");
        assert!(evidence.page.sum("target_info", &[&name, &id]) >= 1.0);
    })
}
