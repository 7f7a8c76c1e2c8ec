//! Namespaces of services, and services: what is made, shown, changed and refused. Nothing runs here: no engine is there.

use crate::fixture::Controller;
use serde_json::json;

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn from_create_to_rm() {
    let controller = Controller::start();
    assert!(controller.ok("ns list").starts_with("no namespaces; `coilctl ns create --help`"));
    assert_eq!(controller.ok("ns create Demo --description d --pool web"), "namespace demo created\n");
    let shown = controller.ok("ns show demo");
    assert!(
        shown.starts_with("Name:         demo\nDescription:  d\nPool:         web\nCreated:      20"),
        "{shown}"
    );
    let list = controller.ok("ns list");
    assert!(list.lines().nth(1).is_some_and(|line| line.starts_with("demo  web   20")), "{list}");

    assert!(controller.ok("svc list demo").starts_with("no services; `coilctl svc create --help`"));
    let line = "svc create demo web --image busybox:1 --replicas 3 --memory 16 --entrypoint sh --command -f --env A=b \
                --env C=d --port 80:8080 --port 53/udp --pool front --description d";
    assert_eq!(controller.ok(line), "service demo/web created\n");
    let service = controller.json("svc show demo web");
    let spec = &service["spec"][0];
    assert_eq!(
        (&service["meta"]["replicas"], &service["meta"]["serviceIPPool"]),
        (&json!(3), &json!("front"))
    );
    assert_eq!(
        (&spec["entrypoint"], &spec["command"], &spec["env"]),
        (&json!("sh"), &json!("-f"), &json!(["A=b", "C=d"]))
    );
    let ports = json!([
        {"protocol": "tcp", "external": 8080, "internal": 80, "published": true},
        {"protocol": "udp", "external": 53, "internal": 53, "published": false},
    ]);
    assert_eq!(spec["ports"], ports);
    let shown = controller.ok("svc show demo web");
    for part in [
        "State:        error\nStatus:       no engine runs services",
        "Running:      0 of 3\nMemory:       48 MiB\n",
        ", revision 0\n  Image:       busybox:1\n  Entrypoint:  sh\n  Command:     -f\n  Memory:      16 MiB\n",
        "  Environment: A=b\n",
        "  Port:        80/tcp, the machine's 8080\n  Port:        53/udp\n",
    ] {
        assert!(shown.contains(part), "{part} is missing: {shown}");
    }
    let list = controller.ok("svc list demo");
    assert!(
        list.contains("web   error        0         3  48 MiB  busybox:1  no engine runs services"),
        "{list}"
    );

    assert_eq!(controller.ok("svc scale demo web 5"), "service demo/web scaled to 5\n");
    assert_eq!(controller.ok("svc update demo web --memory 32"), "service demo/web changed\n");
    let service = controller.json("svc show demo web");
    assert_eq!(
        (&service["meta"]["replicas"], &service["spec"][0]["meta"]["revision"]),
        (&json!(5), &json!(1))
    );
    assert_eq!(service["spec"][0]["command"], "-f", "what was not given stays");
    assert_eq!(controller.ok("svc update demo web --description e"), "service demo/web changed\n");
    assert_eq!(controller.json("svc show demo web")["spec"], service["spec"]);

    assert_eq!(
        controller.ok("svc rm demo web"),
        "service demo/web is removed as soon as its pods are gone\n"
    );
    assert!(
        controller
            .fails(1, "svc show demo web")
            .contains("there is no service \"web\" in namespace \"demo\"")
    );
    controller.ok("ns rm demo");
    assert!(controller.fails(1, "ns show demo").contains("there is no namespace \"demo\""));
}

#[test]
fn what_is_refused_is_told() {
    let controller = Controller::start();
    controller.ok("ns create demo");
    controller.ok("svc create demo web --image i");
    for (line, reason) in [
        ("ns create demo", "namespace demo exists already"),
        ("ns create 1a", "name: \"1a\" is no name"),
        ("ns rm nobody", "there is no namespace \"nobody\""),
        ("svc create demo web --image i", "service demo/web exists already"),
        ("svc create demo other", "image: it is missing"),
        ("svc create nobody web --image i", "there is no namespace \"nobody\""),
        ("svc scale demo web 0", "replicas: 0 is not between 1 and 1000"),
        ("svc scale demo web -1", "replicas: -1 is not between 1 and 1000"),
        ("svc update demo web --env x", "env: \"x\" is not the beginning of NAME=VALUE"),
        ("svc logs demo web", "service demo/web has no pod yet"),
        ("svc logs demo nobody -f", "there is no service \"nobody\""),
        ("svc rm demo nobody", "there is no service \"nobody\""),
    ] {
        let error = controller.fails(1, line);
        assert!(error.contains(reason), "{line}: {error}");
    }
    assert!(controller.fails(2, "svc create demo x --image i --port http").contains("\"http\" is no port"));
}

#[test]
fn files_are_applied() {
    let controller = Controller::start();
    let file = controller.dir.path().join("demo.yaml");
    let write = |replicas: u32, command: &str, port: &str| {
        let text = format!(
            "kind: Namespace\nname: demo\ndescription: d\n---\nkind: Service\nnamespace: demo\nname: web\nimage: i\n\
             replicas: {replicas}\ncommand: {command}\nports: [{{{port}}}]\n"
        );
        std::fs::write(&file, text).expect("written");
    };
    let apply = format!("apply -f {}", file.display());
    write(3, "-f", "internal: 80");
    let done = controller.ok(&apply);
    assert!(
        done.starts_with("namespace demo: created\n") && done.contains("service demo/web: created\n"),
        "{done}"
    );
    assert_eq!(controller.ok(&apply), "namespace demo: unchanged\nservice demo/web: unchanged\n");
    let before = controller.json("svc show demo web");
    write(5, "-f", "internal: 80, protocol: tcp, external: 80");
    let done = "namespace demo: unchanged\nservice demo/web: changed\n  replicas: 3 -> 5\n";
    assert_eq!(controller.ok(&apply), done);
    assert_eq!(controller.json("svc show demo web")["spec"], before["spec"], "the pods are not replaced");
    write(5, "-v", "internal: 81");
    let done = controller.ok(&apply);
    assert!(
        done.contains("  command: -f -> -v\n")
            && done.contains("  ports: 80:80/tcp (not published) -> 81:81/tcp"),
        "{done}"
    );
    assert_eq!(
        controller.json("svc show demo web")["spec"][0]["meta"]["revision"],
        1,
        "one change for all of it"
    );
}
