//! The compose stack as it is shipped: what can be held without an engine.

use std::process::{Command, Output};
use streamhouse_tests::compose::{self, Compose};
use streamhouse_tests::process::Launch;

fn holds(check: fn(&Compose) -> Vec<String>) {
    let compose = Compose::shipped().expect("docker-compose.yml");
    let wrong = check(&compose);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_mounted_file_exists() {
    holds(compose::mounts);
}

#[test]
fn every_endpoint_in_a_configuration_is_a_service_and_a_port_that_it_opens() {
    holds(compose::endpoints);
}

#[test]
fn every_image_is_pinned() {
    holds(compose::images);
    let dockerfile = std::fs::read_to_string(compose::root().join("Dockerfile")).expect("it");
    assert_eq!(compose::bases(&dockerfile), Vec::<String>::new());
}

#[test]
fn every_port_is_published_on_loopback() {
    holds(compose::ports);
}

#[test]
fn every_service_has_limits_and_no_privileges() {
    holds(compose::hardening);
}

#[test]
fn nothing_has_a_default_password() {
    holds(compose::passwords);
}

#[test]
fn every_health_check_can_run_in_its_image() {
    holds(compose::health);
}

#[test]
fn the_collector_has_every_component_of_its_configurations() {
    let root = compose::root().join("otel-collector");
    for name in ["config.yaml", "gateway.yaml"] {
        let text = std::fs::read_to_string(root.join(name)).expect(name);
        let wrong = compose::collector(name, &text);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

fn script(name: &str) -> Command {
    let mut command = Command::new(compose::root().join("docker").join(name));
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command
}

fn told(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn the_image_s_health_check_tells_a_ready_server_from_none() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Launch::serve(crate::BINARY, data.path()).start();
    let ask = || script("healthy").env("STREAMHOUSE_ADMIN_ADDR", server.admin.to_string()).output();

    let ready = ask().expect("bash");
    assert!(ready.status.success(), "{}", told(&ready));

    let addr = server.admin.to_string();
    server.stop();
    let gone = script("healthy").env("STREAMHOUSE_ADMIN_ADDR", addr).output().expect("bash");
    assert!(!gone.status.success(), "{}", told(&gone));
}

#[test]
fn the_image_s_entrypoint_takes_the_admin_token_from_its_file() {
    let folder = tempfile::tempdir().expect("a directory");
    let token = folder.path().join("token");
    std::fs::write(&token, "from-the-file").expect("written");
    std::os::unix::fs::symlink(crate::BINARY, folder.path().join("streamhouse")).expect("a link");
    let run = |token: &std::path::Path| {
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let mut command = script("entrypoint");
        command.env("PATH", path).env("STREAMHOUSE_ADMIN_TOKEN_FILE", token);
        command.arg("config").current_dir(folder.path()).output().expect("bash")
    };

    let found = run(&token);
    assert!(found.status.success(), "{}", told(&found));
    assert!(told(&found).contains("STREAMHOUSE_ADMIN_TOKEN; set by "), "{}", told(&found));
    assert!(!told(&found).contains("from-the-file"), "the token is shown: {}", told(&found));

    let missing = run(&folder.path().join("nowhere"));
    assert_eq!(missing.status.code(), Some(2));
    assert!(told(&missing).contains("cannot read"), "{}", told(&missing));
}

#[test]
fn the_secrets_are_made_once_and_never_replaced() {
    let folder = tempfile::tempdir().expect("a directory");
    let docker = folder.path().join("docker");
    std::fs::create_dir(&docker).expect("a directory");
    std::fs::copy(compose::root().join("docker/init"), docker.join("init")).expect("copied");
    let run = || {
        let mut command = Command::new(docker.join("init"));
        command.env_clear().env("PATH", "/usr/bin:/bin").output().expect("bash")
    };

    let first = run();
    assert!(first.status.success(), "{}", told(&first));
    let made = std::fs::read_to_string(folder.path().join(".env")).expect(".env");
    let token = std::fs::read_to_string(docker.join("secrets/admin-token")).expect("a token");
    assert_eq!(token.len(), 64);
    let compose = std::fs::read_to_string(compose::root().join("docker-compose.yml")).expect("it");
    for required in compose.split("${").filter_map(|rest| rest.split_once(":?")) {
        assert!(made.contains(&format!("{}=", required.0)), "{} is not made", required.0);
    }

    let second = run();
    assert_eq!(second.status.code(), Some(1), "{}", told(&second));
    assert_eq!(std::fs::read_to_string(folder.path().join(".env")).expect(".env"), made);
}
