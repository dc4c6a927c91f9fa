# The README's two commands (`cargo run -- demo`, `cargo test --workspace`) need Rust and a C compiler; these need more.

# Lists the recipes.
default:
    @just --list

# Format, lints, dependencies and tests, as before every commit.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    just deny
    cargo test --workspace

# Kill, cut, delay, duplicate, reorder; then the laws. `just chaos worker` runs what has "worker" in its name.
chaos filter="":
    cargo test -p calfleet-test-chaos --test main -- --nocapture {{ filter }}

# Random histories of whole fleets (law 1), so many in all, a third with each provider: `just histories 300 7000`.
histories count="10002" first="0":
    CALFLEET_TEST_SEEDS={{ first }}..$(( {{ first }} + ({{ count }} + 2) / 3 )) \
    cargo test --release -p calfleet-test-integration --test main -- --nocapture random_histories

# Measures ratios side by side and prints them; the numbers go into tests/BENCHMARKS.md.
bench filter="":
    cargo build --release -p calfleet
    cargo test --release -p calfleet-test-bench --test main -- --ignored --nocapture --test-threads 1 {{ filter }}

# Every law at its full size, with every program required; two to three hours on two cores, a failure ends nothing but itself.
# What it printed is summed up in tests/PROOF.md. `just release-proof outage` runs what has "outage" in its name.
release-proof filter="":
    CALFLEET_TEST_SIZE=full \
    CALFLEET_TEST_REQUIRE=redis,postgres,radicale,xandikos,python-caldav,dateutil,vdirsyncer,openssl,python-google,python-microsoft,node-clients \
    cargo test --release --no-fail-fast --workspace --exclude calfleet-test-bench -- --include-ignored {{ filter }}

# The demo, from source.
dev:
    cargo run -- demo

# Brings the configured database up to date.
migrate *arguments:
    cargo run -- migrate {{ arguments }}

# Makes an empty migration with the time of now: `just new-migration create_rooms`.
new-migration name:
    #!/usr/bin/env bash
    set -euo pipefail
    if [[ ! "{{ name }}" =~ ^[a-z]+(_[a-z0-9]+)+$ ]]; then
        echo "a migration is named verb_object, such as create_rooms" >&2
        exit 1
    fi
    module="m$(date -u +%Y%m%d_%H%M%S)_{{ name }}"
    file="migrations/src/$module.rs"
    cat >"$file" <<'END'
    //! Says what changes, and why old code still runs on the result.

    use sea_orm_migration::prelude::*;

    /// The one change of this file.
    #[derive(Debug, DeriveMigrationName)]
    pub struct Migration;

    #[async_trait::async_trait]
    impl MigrationTrait for Migration {
        async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
            manager.get_connection().execute_unprepared("").await.map(drop)
        }

        async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
            manager.get_connection().execute_unprepared("").await.map(drop)
        }
    }
    END
    echo "$file is new; name it in the list of migrations/src/lib.rs"

# Licences, bans and sources of the dependencies.
deny:
    cargo deny --config .cargo/deny.toml check bans licenses sources

# The documentation of our own crates; a broken link is an error.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
