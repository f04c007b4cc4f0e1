use crate::harness::{PATIENCE, finish, run, streamhouse};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

const COMMANDS: &[&[&str]] = &[
    &[],
    &["serve"],
    &["demo"],
    &["topic"],
    &["topic", "create"],
    &["topic", "list"],
    &["topic", "describe"],
    &["topic", "delete"],
    &["topic", "alter"],
    &["topic", "add-partitions"],
    &["group"],
    &["group", "list"],
    &["group", "describe"],
    &["group", "delete"],
    &["produce"],
    &["consume"],
    &["config"],
    &["signals"],
];

#[test]
fn the_help_of_every_command_has_an_example_of_it() {
    for command in COMMANDS {
        let help = run(&[command, &["--help"][..]].concat()).expect(0);
        let (_, example) = help.stdout.split_once("\nExample").expect("an example");
        let wanted = if command.is_empty() { "demo".into() } else { command.join(" ") };
        assert!(example.contains(&format!("streamhouse {wanted}")), "{command:?}: {example}");
        assert_eq!(help.stderr, "", "{command:?}");
    }
}

#[test]
fn what_makes_no_sense_ends_with_two_and_goes_to_standard_error() {
    let senseless: &[&[&str]] = &[
        &[],
        &["nonsense"],
        &["topic"],
        &["topic", "create"],
        &["topic", "create", "x", "--partitions", "0"],
        &["group"],
        &["group", "describe"],
        &["group", "describe", ""],
        &["group", "delete"],
        &["group", "delete", "x", ""],
        &["group", "list", "--admin", "9464"],
        &["consume", "x", "--from", "somewhere"],
        &["consume", "x", "--partition", "-1"],
        &["consume", "x", "--session-timeout", "10s"],
        &["consume", "x", "--group", "y", "--session-timeout", "0s"],
        &["consume", "x", "--group", "y", "--session-timeout", "301s"],
        &["produce", "x", "--acks", "2"],
        &["produce", "x", "--file", "/nonexistent"],
        &["demo", "--duration", "5"],
        &["demo", "--duration", "0s"],
        &["topic", "list", "--timeout", "0s"],
        &["serve", "--output", "json"],
        &["signals", "--format", "xml"],
        &["config", "--set", "nonsense"],
        &["config", "--output", "yaml"],
    ];
    for arguments in senseless {
        let finished = run(arguments).expect(2);
        assert_eq!(finished.stdout, "", "{arguments:?}");
        assert!(!finished.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_refused_value_says_what_to_write() {
    let stderr = run(&["consume", "x", "--from", "somewhere"]).expect(2).stderr;
    assert!(stderr.contains("earliest, latest, offset:NUMBER or time:TIME"), "{stderr}");
    let stderr = run(&["demo", "--duration", "5"]).expect(2).stderr;
    assert!(stderr.contains("such as 100ms, 5s"), "{stderr}");
    let stderr = run(&["topic", "list", "--timeout", "0s"]).expect(2).stderr;
    assert!(stderr.contains("write more than 0"), "{stderr}");
}

#[test]
fn a_client_without_a_server_fails_with_one_and_says_where_it_looked() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let brokers = format!("127.0.0.1:{port}");
    for arguments in [
        &["topic", "list"][..],
        &["topic", "create", "x"],
        &["topic", "describe", "x"],
        &["topic", "alter", "x", "--config", "retention.ms=-1"],
        &["topic", "add-partitions", "x", "--total", "2"],
        &["topic", "delete", "x"],
        &["group", "delete", "x", "y"],
        &["produce", "orders"],
        &["consume", "orders"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = streamhouse(folder.path(), arguments);
        command.args(["--brokers", &brokers, "--timeout", "1s"]);
        let finished = finish(command, "a\n").expect(1);
        assert_eq!(finished.stdout, "", "{arguments:?}");
        let wanted = format!("error: cannot reach {brokers}");
        assert!(finished.stderr.starts_with(&wanted), "{arguments:?}: {}", finished.stderr);
        assert_eq!(finished.stderr.lines().count(), 1, "{arguments:?}: {}", finished.stderr);
    }
}

#[test]
fn who_waits_for_a_server_for_ever_says_so() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let brokers = format!("127.0.0.1:{port}");
    for waiting in ["--group=g", "--follow"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = streamhouse(folder.path(), &["consume", "orders", waiting]);
        command.args(["--brokers", &brokers, "--timeout", "1s"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|l| sender.send(l)));
        let first = said.recv_timeout(PATIENCE);
        child.kill().unwrap();
        child.wait().unwrap();
        let first = first.unwrap_or_default();
        let is_told = first.starts_with(&format!("warning: cannot reach {brokers}"))
            || first.starts_with(&format!("error: cannot reach {brokers}"));
        assert!(is_told, "{waiting}: {first:?}");
    }
}

#[test]
fn the_flag_of_the_other_port_is_refused_by_the_name_of_the_right_one() {
    let other = [
        (&["group", "list"][..], "--brokers", "--admin"),
        (&["group", "describe", "x"], "--brokers", "--admin"),
        (&["group", "delete", "x"], "--admin", "--brokers"),
    ];
    for (command, wrong, right) in other {
        let refused = run(&[command, &[wrong, "127.0.0.1:1"]].concat()).expect(2).stderr;
        assert!(refused.contains(&format!("'{wrong}")), "{command:?}: {refused}");
        assert!(refused.contains(&format!("write {right}")), "{command:?}: {refused}");
        let help = run(&[command, &["--help"]].concat()).expect(0).stdout;
        assert!(help.contains(right) && !help.contains(wrong), "{command:?}: {help}");
    }
    let help = run(&["group", "--help"]).expect(0).stdout;
    assert!(help.contains("--admin") && help.contains("--brokers"), "{help}");
}

#[test]
fn without_an_admin_port_the_group_command_fails_with_one_and_says_where_it_looked() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let admin = format!("127.0.0.1:{port}");
    let finished = run(&["group", "list", "--admin", &admin]).expect(1);
    assert_eq!(finished.stdout, "");
    let wanted = format!("error: cannot reach the admin port {admin}");
    assert!(finished.stderr.starts_with(&wanted), "{}", finished.stderr);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = streamhouse(folder.path(), &["signals", "--format", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
