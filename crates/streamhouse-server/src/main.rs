//! The streamhouse binary.

fn main() -> std::process::ExitCode {
    streamhouse_server::main()
}
