//! Real servers on private ports, and oracles that we did not write, for tests.
//!
//! A test that wants a program asks for it (`Redis::start()`, `Postgres::shared()`, `Radicale::start()`) and gets
//! `None` when it is not installed: the test says so on stderr and returns. Where `CALFLEET_TEST_REQUIRE` names
//! the program, its absence is a failure instead ([`requirement`]).
//!
//! Every server runs in a folder of its own under a free port of 127.0.0.1, and ends with the value that holds it;
//! one held by a `static` ends with the test process, however that dies (the module `process` says how).
//!
//! Starting blocks the calling thread, for some 20 ms (Redis) to 2 s (Postgres). The [`oracle`] is asynchronous, because
//! the servers that it talks to may live in the runtime of the test itself.

mod dav;
mod http;
pub mod oracle;
mod port;
mod postgres;
mod process;
mod python;
mod radicale;
mod redis;
pub mod requirement;
mod seeds;
mod server;
mod size;
mod xandikos;

pub use dav::DavServer;
pub use postgres::{Database, Durability, Postgres};
pub use process::{Process, wait_until};
pub use python::{interpreter as python_interpreter, repository_root};
pub use radicale::Radicale;
pub use redis::Redis;
pub use seeds::seeds;
pub use server::Ending;
pub use size::Size;
pub use xandikos::Xandikos;
