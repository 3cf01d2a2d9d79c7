use super::*;
use crate::{
    kubernetes::{Changes, Kept, Reach, Store, made},
    process::{ProcFs, fixture::Fixture, proc_fs::TICK_NS},
};

fn table(fixture: &Fixture) -> Table {
    Table::new(Identifier::new(fixture.proc(), Vec::new()))
}

fn key(tgid: u32, ticks: u64) -> ProcessKey {
    ProcessKey {
        tgid,
        start_ns: ticks * TICK_NS + 1234,
    }
}

fn event(kind: u32, tgid: u32, ticks: u64, parent: u32, name: &str) -> ProcessEvent {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    let start_ns = ticks * TICK_NS + 1234;
    ProcessEvent {
        time_ns: start_ns,
        start_ns,
        kind,
        tgid,
        parent_tgid: parent,
        reserved: 0,
        comm,
    }
}

/// nginx's master and two workers, and a second nginx that somebody started by exec.
fn nginx() -> Fixture {
    let fixture = Fixture::new();
    fixture.process(10, 1, 100, 7, "/usr/sbin/nginx", &["nginx: master process"]);
    fixture.process(
        11,
        10,
        101,
        7,
        "/usr/sbin/nginx",
        &["nginx: worker process"],
    );
    fixture.process(
        12,
        10,
        102,
        7,
        "/usr/sbin/nginx",
        &["nginx: worker process"],
    );
    fixture.process(20, 10, 103, 8, "/usr/sbin/nginx", &["nginx"]);
    fixture
}

#[test]
fn forked_workers_share_one_instance_and_an_exec_is_another() {
    let fixture = nginx();
    for scanned in [true, false] {
        let table = table(&fixture);
        if scanned {
            assert_eq!(table.scan().unwrap(), 5);
        }
        let worker = table.service(key(12, 102));
        assert!(Arc::ptr_eq(&worker, &table.service(key(11, 101))));
        assert!(Arc::ptr_eq(&worker, &table.service(key(10, 100))));
        assert!(
            worker
                .attributes
                .contains(&("process.pid", crate::process::Value::Int(10)))
        );
        let other = table.service(key(20, 103));
        assert_eq!(other.name, worker.name);
        assert_ne!(other.instance_id, worker.instance_id);
    }
}

#[test]
fn another_control_group_is_another_instance() {
    let fixture = nginx();
    fixture.write("12/cgroup", b"0::/elsewhere\n");
    let table = table(&fixture);
    table.scan().unwrap();
    assert_ne!(
        table.service(key(12, 102)).instance_id,
        table.service(key(10, 100)).instance_id
    );
}

#[test]
fn a_forked_child_needs_no_look_at_proc() {
    let fixture = nginx();
    let table = table(&fixture);
    table.scan().unwrap();
    // The child is never in /proc, its parent's event is all there is.
    let fork = event(event::FORK, 999, 200, 10, "nginx");
    assert!(table.event(&fork));
    assert!(Arc::ptr_eq(
        &table.service(key(999, 200)),
        &table.service(key(10, 100))
    ));
    assert_eq!(table.stats().unseen, 0);
    // Where the parent was not known before, it is asked of that.
    let table = self::table(&fixture);
    assert!(!table.event(&fork));
    assert_eq!(table.stats().processes, 0);
    table.place(&fork);
    assert!(Arc::ptr_eq(
        &table.service(key(999, 200)),
        &table.service(key(12, 102))
    ));
}

#[test]
fn exec_begins_a_new_instance_and_invalidates_caches() {
    let fixture = nginx();
    let table = table(&fixture);
    table.scan().unwrap();
    table.event(&event(event::FORK, 30, 200, 10, "nginx"));
    let forked = table.service(key(30, 200));
    let generation = table.generation();
    fixture.process(30, 10, 200, 9, "/opt/orders", &["orders"]);
    table.event(&event(event::EXEC, 30, 200, 10, "orders"));
    assert_ne!(table.generation(), generation);
    let service = table.service(key(30, 200));
    assert_eq!(&*service.name, "orders");
    assert_ne!(service.instance_id, forked.instance_id);
    // Told late of an exec that was seen already: still the same service.
    table.event(&event(event::EXEC, 30, 200, 10, "orders"));
    assert!(Arc::ptr_eq(&service, &table.service(key(30, 200))));
}

#[test]
fn workers_keep_their_identity_when_the_topmost_calls_exec() {
    let fixture = nginx();
    let table = table(&fixture);
    table.scan().unwrap();
    fixture.process(10, 1, 100, 9, "/opt/orders", &["orders"]);
    table.event(&event(event::EXEC, 10, 100, 1, "orders"));
    assert_eq!(&*table.service(key(11, 101)).name, "nginx");
    assert_eq!(&*table.service(key(10, 100)).name, "orders");
}

#[test]
fn a_process_that_was_never_seen_is_named_by_its_events() {
    let fixture = Fixture::new();
    let table = table(&fixture);
    table.event(&event(event::FORK, 50, 300, 1, "sh"));
    table.event(&event(event::EXEC, 50, 300, 1, "curl"));
    table.event(&event(event::EXIT, 50, 300, 1, "curl"));
    assert_eq!(&*table.service(key(50, 300)).name, "curl");
    assert_eq!(&*table.service(key(51, 301)).name, "unknown_service");
    assert_eq!(table.stats().unseen, 2);
}

#[test]
fn a_start_that_the_kernel_could_not_tell_is_that_of_the_process_with_the_id() {
    let fixture = nginx();
    let table = table(&fixture);
    let untold = ProcessKey {
        tgid: 10,
        start_ns: 0,
    };
    // Not known yet: from /proc. Known: from the table, though /proc has another by now.
    assert_eq!(&*table.service(untold).name, "nginx");
    table.event(&event(event::EXEC, 10, 100, 1, "nginx"));
    fixture.process(10, 1, 900, 99, "/opt/orders", &["orders"]);
    table.event(&event(event::EXEC, 10, 900, 1, "orders"));
    assert_eq!(&*table.service(untold).name, "orders");
}

#[test]
fn a_reused_id_is_another_process() {
    let fixture = nginx();
    let table = table(&fixture);
    let old = table.service(key(10, 100));
    fixture.process(10, 1, 900, 99, "/opt/orders", &["orders"]);
    assert_eq!(&*table.service(key(10, 900)).name, "orders");
    assert!(Arc::ptr_eq(&old, &table.service(key(10, 100))));
    // The new one's key is asked for when it is gone already and a third has the id: nobody's name is borrowed.
    assert_eq!(&*table.service(key(10, 500)).name, "unknown_service");
}

#[test]
fn the_ended_are_forgotten_after_their_grace_and_the_table_stays_bounded() {
    let fixture = nginx();
    let table = Table::with_capacity(Identifier::new(fixture.proc(), Vec::new()), 8);
    table.scan().unwrap();
    let before = table.stats().processes;
    for tgid in 1000..2000 {
        table.event(&event(event::FORK, tgid, 200, 10, "nginx"));
        assert_eq!(&*table.service(key(tgid, 200)).name, "nginx");
        table.event(&event(event::EXIT, tgid, 200, 10, "nginx"));
        assert!(table.stats().processes <= 8);
    }
    assert_eq!(table.stats().overflowed, 0);
    table.prune(200 * TICK_NS + GRACE_NS + 10_000);
    assert_eq!(
        table.stats(),
        TableStats {
            processes: before,
            ..table.stats()
        }
    );
    assert_eq!(table.stats().departed, 0);
}

#[test]
fn a_full_table_still_answers_and_knows_who_was_asked_for_last() {
    let fixture = nginx();
    let table = Table::with_capacity(Identifier::new(fixture.proc(), Vec::new()), 1);
    table.service(key(10, 100));
    assert_eq!(&*table.service(key(20, 103)).name, "nginx");
    assert_eq!((table.stats().overflowed, table.stats().processes), (1, 1));
    assert!(table.known(key(20, 103)).is_some());
    fixture.remove(20);
    table.sweep();
    assert_eq!(table.stats().departed, 1);
    table.service(key(10, 100));
    assert_eq!(table.stats().overflowed, 1, "who ended leaves first");
}

#[test]
fn a_service_has_departed_when_its_last_process_is_forgotten() {
    let fixture = nginx();
    let table = table(&fixture);
    table.scan().unwrap();
    let workers = table.service(key(12, 102));
    let other = table.service(key(20, 103));
    let departed = || table.departed(vec![workers.clone(), other.clone()]);
    let end = |tgid, ticks| {
        fixture.remove(tgid);
        let exit = event(event::EXIT, tgid, ticks, 0, "nginx");
        table.event(&exit);
        (departed(), table.prune(exit.time_ns + GRACE_NS)).0
    };
    // The topmost and one worker: another worker is left.
    assert!(end(10, 100).is_empty() && end(11, 101).is_empty());
    assert!(departed().is_empty());
    // The last one is remembered for its grace.
    assert!(end(12, 102).is_empty());
    assert_eq!(departed().len(), 1);
    assert!(Arc::ptr_eq(&departed()[0], &workers));
}

#[test]
fn a_program_that_was_replaced_by_exec_has_departed() {
    let fixture = nginx();
    let table = table(&fixture);
    let nginx = table.service(key(20, 103));
    fixture.process(20, 10, 103, 9, "/opt/orders", &["orders"]);
    table.event(&event(event::EXEC, 20, 103, 10, "orders"));
    // It may turn out to be the same.
    assert!(table.departed(vec![nginx.clone()]).is_empty());
    let orders = table.service(key(20, 103));
    let departed = table.departed(vec![nginx.clone(), orders]);
    assert_eq!(departed, [nginx]);
}

#[test]
fn who_had_to_leave_the_table_has_not_departed() {
    let fixture = nginx();
    let table = Table::with_capacity(Identifier::new(fixture.proc(), Vec::new()), 1);
    let outside = table.service(key(20, 103));
    table.service(key(10, 100));
    assert!(table.departed(vec![outside.clone()]).is_empty());
    fixture.remove(20);
    assert_eq!(table.departed(vec![outside]).len(), 1);
}

#[test]
fn who_cannot_wait_reads_no_file() {
    let fixture = nginx();
    let table = table(&fixture);
    let worker = key(12, 102);
    assert_eq!(table.known(worker), None);
    assert_eq!(&*table.provisional(worker).name, "unknown_service");
    table.scan().unwrap();
    // No file is left to be read.
    for pid in [10, 11, 12, 20] {
        fixture.remove(pid);
    }
    assert_eq!(table.known(worker), None);
    let provisional = table.provisional(worker);
    assert_eq!(&*provisional.name, "nginx", "as the kernel calls it");
    assert!(Arc::ptr_eq(&provisional, &table.provisional(key(11, 101))));
    assert_ne!(
        provisional.instance_id,
        table.provisional(key(20, 103)).instance_id
    );
    assert!(table.event(&event(event::FORK, 30, 200, 10, "nginx")));
    assert!(table.event(&event(event::EXEC, 30, 200, 10, "orders")));
    assert_eq!(&*table.provisional(key(30, 200)).name, "orders");
    assert!(table.event(&event(event::EXIT, 30, 200, 10, "orders")));
    assert_eq!(table.stats().unseen, 0);
}

#[test]
fn a_name_that_comes_late_takes_the_place_of_the_provisional_one() {
    let fixture = nginx();
    fixture.process(
        30,
        1,
        200,
        9,
        "/usr/bin/python3",
        &["python3", "/srv/shop.py"],
    );
    let table = table(&fixture);
    let shop = key(30, 200);
    let found = table.find(shop);
    assert_eq!((found.tgid(), found.name()), (30, "python3"));
    let provisional = table.provisional(shop);
    assert_eq!(&*provisional.name, "python3");
    assert!(table.departed(vec![provisional.clone()]).is_empty());
    let generation = table.generation();
    assert!(!found.is_looked_at());
    table.look(&found);
    assert!(found.is_looked_at());
    assert_ne!(table.generation(), generation, "caches ask again");
    let known = table.known(shop).unwrap();
    assert_eq!(&*known.name, "shop");
    assert_eq!(known.instance_id, provisional.instance_id);
    assert_eq!(
        table.departed(vec![provisional.clone(), known]),
        [provisional]
    );
}

#[test]
fn a_name_that_comes_in_time_leaves_caches_alone() {
    let fixture = nginx();
    let table = table(&fixture);
    let generation = table.generation();
    table.look(&table.find(key(12, 102)));
    assert_eq!(table.generation(), generation);
    assert_eq!(&*table.known(key(10, 100)).unwrap().name, "nginx", "of all");
}

#[test]
fn threads_that_ask_at_once_get_one_service() {
    let fixture = nginx();
    let table = table(&fixture);
    let services: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| table.service(key(12, 102))))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(
        services
            .iter()
            .all(|service| Arc::ptr_eq(service, &services[0]))
    );
}

#[test]
fn this_machine_can_be_scanned() {
    let table = Table::new(Identifier::new(ProcFs::default(), Vec::new()));
    assert!(table.scan().unwrap() > 0);
    let own = table.service(super::super::own_key().unwrap());
    assert!(own.name.starts_with("observer"), "{}", own.name);
}

#[test]
fn a_real_fork_is_its_parents_instance_and_a_real_exec_is_not() {
    use std::process::{Command, Stdio};

    // A subshell is a fork with no exec; `sleep` beside it is one with.
    let script = "(read line) <&3 & sleep 60 & read line; kill $!";
    let mut shell = Command::new("sh")
        .args(["-c", &format!("exec 3<&0; {script}")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let proc = ProcFs::default();
    let children = || -> Vec<(u32, Stat)> {
        let stats = proc
            .pids()
            .unwrap()
            .into_iter()
            .filter_map(|pid| Some((pid, proc.stat(pid).ok()?)));
        stats
            .filter(|(_, stat)| stat.parent == shell.id())
            .collect()
    };
    let exe = |pid: u32| proc.link(pid, "exe").unwrap_or_default();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let (subshell, sleep) = loop {
        let children = children();
        let find = |sleeps: bool| {
            children
                .iter()
                .find(|(pid, _)| (exe(*pid) != exe(shell.id())) == sleeps)
                .cloned()
        };
        if let (2, Some(subshell), Some(sleep)) = (children.len(), find(false), find(true)) {
            break (subshell, sleep);
        }
        assert!(
            std::time::Instant::now() < deadline,
            "the shell's children did not appear"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let shell_ticks = proc.stat(shell.id()).unwrap().start_ticks;
    for scanned in [true, false] {
        let table = Table::new(Identifier::new(ProcFs::default(), Vec::new()));
        if scanned {
            table.scan().unwrap();
        }
        let service = |pid, ticks| table.service(key(pid, ticks));
        let forked = service(subshell.0, subshell.1.start_ticks);
        assert!(Arc::ptr_eq(&forked, &service(shell.id(), shell_ticks)));
        assert_ne!(
            forked.instance_id,
            service(sleep.0, sleep.1.start_ticks).instance_id
        );
    }
    // End of input ends the shell, which ends the sleep.
    drop(shell.stdin.take());
    shell.wait().unwrap();
}

const POD: &str = "6f1b2c3d-0000-4444-8888-0123456789ab";

/// A program in a pod that the cluster has not told of yet.
fn in_pod() -> (Fixture, Arc<Store>, Table) {
    let fixture = Fixture::new();
    fixture.process(42, 1, 500, 7, "/usr/sbin/nginx", &["nginx"]);
    let group = format!("0::/kubepods/pod{POD}/{}\n", made::id('a'));
    fixture.write("42/cgroup", group.as_bytes());
    let pods = Arc::new(Store::new(Kept::default()));
    let identifier = Identifier::new(fixture.proc(), Vec::new()).in_cluster(Arc::clone(&pods));
    (fixture, pods, Table::new(identifier))
}

fn called(table: &Table) -> Option<String> {
    table.known(key(42, 500)).map(|it| it.name.to_string())
}

#[test]
fn a_process_waits_for_its_pod_and_is_named_as_soon_as_that_is_known() {
    let (_fixture, pods, table) = in_pod();
    table.look(&table.find(key(42, 500)));
    assert_eq!(called(&table), None);
    table.name_pods(&pods.take_changes(), now_ns());
    assert_eq!(called(&table), None);
    pods.apply(made::pod(&made::pod_json(POD, "api")));
    table.name_pods(&pods.take_changes(), now_ns());
    assert_eq!(called(&table).as_deref(), Some("api"));
    assert_eq!(table.generation(), 0, "nobody had another name for it");
    // What waited is not named anew when its time is over.
    table.name_pods(&Changes::default(), now_ns() + pods::PATIENCE_NS);
    assert_eq!(table.generation(), 0);
}

#[test]
fn a_pod_that_is_not_told_of_keeps_nobody_waiting_for_long_and_names_it_later() {
    let (_fixture, pods, table) = in_pod();
    table.look(&table.find(key(42, 500)));
    let provisional = table.provisional(key(42, 500));
    assert_eq!(&*provisional.name, "nginx");
    table.name_pods(&Changes::default(), now_ns() + pods::PATIENCE_NS);
    assert_eq!(called(&table).as_deref(), Some("nginx"));
    let generation = table.generation();
    pods.apply(made::pod(&made::pod_json(POD, "api")));
    table.name_pods(&pods.take_changes(), now_ns());
    assert_eq!(called(&table).as_deref(), Some("api"));
    assert!(table.generation() > generation, "caches ask again");
    assert_eq!(table.departed(vec![provisional.clone()]), [provisional]);
}

#[test]
fn with_nobody_to_tell_a_process_is_named_at_once() {
    let (_fixture, pods, table) = in_pod();
    pods.set_reach(Reach::Lost);
    table.look(&table.find(key(42, 500)));
    assert_eq!(called(&table).as_deref(), Some("nginx"));
}

#[test]
fn a_pod_that_changes_changes_its_services_and_one_that_is_forgotten_leaves_them() {
    let (_fixture, pods, table) = in_pod();
    let mut json = made::pod_json(POD, "api");
    pods.apply(made::pod(&json));
    table.look(&table.find(key(42, 500)));
    let service = table.known(key(42, 500)).unwrap();
    table.name_pods(&pods.take_changes(), now_ns());
    assert!(Arc::ptr_eq(&service, &table.known(key(42, 500)).unwrap()));
    json["metadata"]["annotations"] =
        serde_json::json!({"resource.opentelemetry.io/service.name": "renamed"});
    pods.apply(made::pod(&json));
    let generation = table.generation();
    table.name_pods(&pods.take_changes(), now_ns());
    assert_eq!(called(&table).as_deref(), Some("renamed"));
    assert!(table.generation() > generation);
    pods.remove(POD, 0);
    pods.prune(u64::MAX);
    pods.set_cluster_uid("c".to_owned());
    table.name_pods(&pods.take_changes(), now_ns());
    assert_eq!(called(&table).as_deref(), Some("renamed"));
}
