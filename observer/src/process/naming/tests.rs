use super::*;

fn named(exe: &str, cwd: &str, command: &str) -> String {
    named_with(
        exe,
        cwd,
        &command.split(' ').map(str::to_owned).collect::<Vec<_>>(),
        b"",
        &[],
    )
}

fn named_with(
    exe: &str,
    cwd: &str,
    args: &[String],
    environ: &[u8],
    files: &[(&str, &str)],
) -> String {
    let read = |path: &str| {
        files
            .iter()
            .find(|(name, _)| *name == path)
            .map(|(_, text)| text.as_bytes().to_vec())
    };
    let environment = Environment::parse(environ);
    name(&Clues {
        exe: Some(exe),
        args,
        comm: "comm",
        cwd: Some(cwd),
        environment: &environment,
        read: &read,
    })
    .unwrap()
}

#[test]
fn a_binary_is_named_after_its_file_whatever_its_command_line_says() {
    for (exe, command, expected) in [
        ("/usr/sbin/nginx", "nginx: worker process", "nginx"),
        ("/opt/orders/bin/orders", "something-else --x", "orders"),
        ("/usr/sbin/php-fpm8.2", "php-fpm: pool www", "php-fpm"),
        ("/memfd:orders", "x", "orders"),
        ("/usr/bin/sleep", "sleep 3", "sleep"),
        (
            "/usr/lib/ld-linux-x86-64.so.2",
            "/lib64/ld-linux-x86-64.so.2 /srv/orders",
            "orders",
        ),
    ] {
        assert_eq!(named(exe, "/", command), expected, "{command}");
    }
}

#[test]
fn python_is_named_after_application_module_script_or_directory() {
    for (cwd, command, expected) in [
        ("/", "python3 /srv/app/main.py", "app"),
        ("/", "python3 /srv/shop/src/main.py", "shop"),
        (
            "/srv/shop/releases/20240101",
            "python3 -u ./server.py --port 1",
            "shop",
        ),
        ("/", "python3 -X dev -Wignore /srv/billing.py", "billing"),
        ("/", "python3 -um shop.jobs", "shop"),
        ("/", "python -m http.server 8000", "http.server"),
        ("/", "python -m gunicorn shop.wsgi", "shop"),
        (
            "/",
            "/usr/bin/python3 /usr/bin/gunicorn -w 4 -b localhost:8000 shop.wsgi:application",
            "shop",
        ),
        (
            "/",
            "python3 /usr/bin/gunicorn shop.wsgi -w 4 -k gevent",
            "shop",
        ),
        (
            "/",
            "python3 /usr/bin/gunicorn --preload -b :80 shop.wsgi",
            "shop",
        ),
        ("/srv/shop", "python3 /usr/bin/gunicorn app:app", "shop"),
        ("/", "python3 /usr/bin/gunicorn app:app", "app"),
        (
            "/",
            "python3 /usr/bin/uvicorn --host 0.0.0.0 --port 80 src.shop.main:app",
            "shop",
        ),
        (
            "/",
            "python3 /usr/bin/uvicorn --factory shop:create_app",
            "shop",
        ),
        ("/", "python3 /usr/bin/flask --app shop run", "shop"),
        ("/", "python3 /usr/bin/celery -A shop worker", "shop"),
        ("/srv/shop", "python3 manage.py runserver", "shop"),
        ("/", "python3 -c import(this)", "python"),
        ("/", "python3", "python"),
    ] {
        assert_eq!(
            named("/usr/bin/python3.11", cwd, command),
            expected,
            "{command}"
        );
    }
    let title = ["gunicorn: master [shop.wsgi]".to_owned()];
    assert_eq!(
        named_with("/usr/bin/python3.11", "/", &title, b"", &[]),
        "shop"
    );
    let django = ["python", "manage.py"].map(str::to_owned);
    let settings = b"DJANGO_SETTINGS_MODULE=shop.settings\0";
    assert_eq!(
        named_with("/usr/bin/python3", "/code", &django, settings, &[]),
        "shop"
    );
}

#[test]
fn node_is_named_after_the_nearest_package_then_the_script() {
    let package = ("/srv/x/package.json", r#"{"name": "@acme/shop"}"#);
    for (cwd, command, files, expected) in [
        ("/srv/x", "node server.js", vec![package], "shop"),
        (
            "/srv/x/dist",
            "node --require ./tracing.js index.js",
            vec![package],
            "shop",
        ),
        (
            "/srv/x",
            "node node_modules/.bin/next start",
            vec![package],
            "shop",
        ),
        (
            "/srv/orders",
            "node server.js",
            vec![("/srv/orders/package.json", "{broken")],
            "orders",
        ),
        ("/srv/orders", "node worker-pool.mjs", vec![], "worker-pool"),
        (
            "/",
            "node /usr/lib/node_modules/pkg/cli.js",
            vec![(
                "/usr/lib/node_modules/pkg/package.json",
                r#"{"name":"pkg"}"#,
            )],
            "pkg",
        ),
        ("/", "node -e 1", vec![], "node"),
        ("/srv/x", "deno run -A main.ts", vec![package], "shop"),
    ] {
        let args: Vec<String> = command.split(' ').map(str::to_owned).collect();
        assert_eq!(
            named_with("/usr/bin/node", cwd, &args, b"", &files),
            expected,
            "{command}"
        );
    }
    let titled = ["shop-api".to_owned()];
    assert_eq!(
        named_with("/usr/bin/node", "/", &titled, b"", &[]),
        "shop-api"
    );
    let pm2 = [
        "node",
        "/usr/lib/node_modules/pm2/lib/ProcessContainerFork.js",
    ]
    .map(str::to_owned);
    assert_eq!(
        named_with("/usr/bin/node", "/", &pm2, b"name=orders\0", &[]),
        "orders"
    );
}

#[test]
fn java_is_named_after_property_archive_or_class() {
    for (command, expected) in [
        ("java -jar orders-1.2.jar", "orders"),
        (
            "java -Xmx1g -cp a:b -jar /x/order-api-1.2.3-SNAPSHOT-all.jar --x",
            "order-api",
        ),
        ("java -jar /srv/orders/app.jar", "orders"),
        (
            "java -jar /srv/orders/quarkus-app/quarkus-run.jar",
            "orders",
        ),
        ("java -jar orders-all.jar", "orders"),
        ("java com.acme.Main", "Main"),
        (
            "java -cp x --add-opens a=b -Dx=y com.acme.OrderService arg",
            "OrderService",
        ),
        ("java -m shop/com.acme.Shop", "Shop"),
        ("java -Dspring.application.name=shop -jar app.jar", "shop"),
        (
            "java -classpath x org.apache.catalina.startup.Bootstrap start",
            "tomcat",
        ),
        ("java", "java"),
    ] {
        assert_eq!(
            named("/usr/lib/jvm/java-17/bin/java", "/", command),
            expected,
            "{command}"
        );
    }
}

#[test]
fn other_runtimes_are_named_after_what_they_run() {
    for (exe, cwd, command, expected) in [
        (
            "/usr/bin/dotnet",
            "/",
            "dotnet /app/Orders.Api.dll",
            "Orders.Api",
        ),
        (
            "/usr/bin/ruby3.1",
            "/srv/shop",
            "ruby bin/rails server",
            "shop",
        ),
        ("/usr/bin/ruby3.1", "/", "ruby /srv/billing.rb", "billing"),
        ("/usr/bin/php8.2", "/srv/shop", "php artisan serve", "shop"),
        (
            "/usr/bin/bash",
            "/",
            "bash -x /usr/local/bin/backup.sh",
            "backup",
        ),
        ("/usr/bin/dash", "/", "sh -c ls", "dash"),
        (
            "/usr/lib/erlang/bin/beam.smp",
            "/",
            "beam.smp -- -sname rabbit@host",
            "rabbit",
        ),
    ] {
        assert_eq!(named(exe, cwd, command), expected, "{command}");
    }
    let title = ["puma 5.6.5 (tcp://0.0.0.0:9292) [shop]".to_owned()];
    assert_eq!(
        named_with("/usr/bin/ruby3.1", "/", &title, b"", &[]),
        "shop"
    );
}

#[test]
fn hostile_command_lines_give_some_clean_name() {
    for args in [
        vec![],
        vec![String::new()],
        vec!["-".into()],
        vec!["x".into(), "-".into(), "--".into()],
        vec!["\u{1b}[2J".into(), "é".repeat(4000)],
    ] {
        for exe in [
            "",
            "/",
            "/usr/bin/python3",
            "/usr/bin/node",
            "/usr/bin/java",
            "/usr/bin/ruby",
            "/usr/bin/dotnet",
            "/lib/ld-linux.so",
            "/a\u{7}b",
        ] {
            let name = named_with(exe, "", &args, b"", &[]);
            assert!(
                !name.is_empty() && name.len() <= 255 && !name.contains(char::is_control),
                "{exe} {args:?}: {name:?}"
            );
        }
    }
}
