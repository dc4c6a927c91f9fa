//! Ports that belong to one server for as long as it lives, across all test processes of the machine.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, bail};

/// Below the range from which systems give ports to outgoing connections (32768 on Linux, 49152 elsewhere), so that
/// a server which is down for a while finds its port free when it comes back.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port of 127.0.0.1, leased until dropped.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    // The lock on this file is the lease; it ends with the process at the latest.
    _lease: File,
}

impl Port {
    /// Leases a port on which nobody listens.
    pub(crate) fn lease() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join("calfleet-test-ports");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let start = RandomState::new().build_hasher().finish();
        for step in 0..u64::from(COUNT) {
            let offset = u16::try_from(start.wrapping_add(step) % u64::from(COUNT))?;
            let number = FIRST + offset;
            let lease = File::create(folder.join(number.to_string()))?;
            if lease.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lease: lease });
            }
        }
        bail!("no free port between {FIRST} and {}", FIRST + COUNT)
    }

    pub(crate) const fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leases_are_two_ports() {
        let first = Port::lease().unwrap();
        let second = Port::lease().unwrap();

        assert_ne!(first.number(), second.number());
    }
}
