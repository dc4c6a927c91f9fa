//! The first import from a real Radicale, beside curl sending the same requests and beside vdirsyncer.
//!
//! The requests are written down in a first import, which also lets the server fill its caches; then the three take
//! turns. Ours is counted from the ask to the moment the calendar is fresh in Postgres, the others from the start of
//! their process to its end. Radicale compresses its answers to ours and to curl, which sends the same headers
//! and leaves them compressed. vdirsyncer asks for the whole calendar in one request, which Radicale has to be allowed to
//! answer.
//!
//! The generated events are what people keep: series with exceptions, zones, guests, texts. Plain ones (a title and two
//! instants) are measured as well, because tools are mostly compared by them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use calfleet_harness::requirement::{Program, is_available};
use calfleet_harness::{DavServer, Durability, Postgres, Radicale, Redis, python_interpreter};

use crate::figure::{Bound, figure, median, median_seconds, number};
use crate::fleet::{Account, Fleet};
use crate::process;
use crate::recorder::{Recorded, Recorder};
use crate::samples::{self, CALENDAR};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn import_of_1_000_events() {
    let texts = samples::texts(1_000).await;
    import("1000", &texts, 5, Bound::None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn import_of_10_000_events() {
    let texts = samples::texts(10_000).await;
    import("10000", &texts, 3, Bound::AtMost(0.5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn import_of_10_000_plain_events() {
    import("10000_plain", &samples::plain_texts(10_000), 3, Bound::AtMost(0.5)).await;
}

/// Walls and processor times of one tool.
#[derive(Debug, Default)]
struct Times {
    walls: Vec<Duration>,
    processor: Vec<Duration>,
}

impl Times {
    fn add(&mut self, (wall, processor): (Duration, Duration)) {
        self.walls.push(wall);
        self.processor.push(processor);
    }

    fn print(&self, name: &str) {
        figure(&format!("{name}.wall"), median_seconds(&self.walls), "s", Bound::None);
        figure(&format!("{name}.cpu"), median_seconds(&self.processor), "s", Bound::None);
    }

    /// The median of the ratios of each round.
    fn ratio(&self, other: &Self) -> f64 {
        let pairs = self.walls.iter().zip(&other.walls);
        median(pairs.map(|(one, other)| one.as_secs_f64() / other.as_secs_f64()).collect())
    }
}

async fn import(name: &str, texts: &[(String, String)], rounds: usize, own_cpu: Bound) {
    let (Some(postgres), Some(redis), Some(radicale)) =
        (Postgres::start(Durability::Full), Redis::start(), Radicale::start_with_long_reports())
    else {
        return;
    };
    let calendar = radicale.create_calendar(CALENDAR);
    let events = texts.len();
    radicale.fill(&calendar, texts.iter().cloned());

    let folder = tempfile::tempdir().unwrap();
    let requests = recorded_import(&postgres, &redis, &radicale, &calendar, events).await;
    let script = curl_script(folder.path(), &radicale, &requests);
    let has_vdirsyncer = is_available(Program::Vdirsyncer);

    let [mut curl, mut ours, mut vdirsyncer] = [(); 3].map(|()| Times::default());
    for round in 0..rounds {
        curl.add(process::run(Command::new("curl").arg("--config").arg(&script)));
        ours.add(one_import(&postgres, &redis, &account(&radicale.url(), &radicale), events).await);
        if has_vdirsyncer {
            vdirsyncer.add(run_vdirsyncer(&folder.path().join(round.to_string()), &radicale, events));
        }
    }

    let name = |what: &str| format!("import.{name}.{what}");
    figure(&name("requests"), number(requests.len()), "requests", Bound::None);
    curl.print(&name("curl"));
    ours.print(&name("calfleet"));
    figure(&name("ratio_to_curl"), ours.ratio(&curl), "x", Bound::AtMost(1.3));
    figure(&name("own_cpu"), median_seconds(&ours.processor), "s", own_cpu);
    if has_vdirsyncer {
        vdirsyncer.print(&name("vdirsyncer"));
        figure(&name("ratio_to_vdirsyncer"), ours.ratio(&vdirsyncer), "x", Bound::Below(1.0));
        // the bounds of half a second beside the 1.6 s that vdirsyncer takes where they were set
        let cpu = median_seconds(&ours.processor) / median_seconds(&vdirsyncer.processor);
        figure(&name("own_cpu_to_vdirsyncer"), cpu, "x", Bound::AtMost(0.5 / 1.6));
    }
}

fn account(url: &str, radicale: &DavServer) -> Account {
    Account {
        url: url.to_owned(),
        user: radicale.user().to_owned(),
        password: radicale.password().to_owned(),
    }
}

/// What an import asks of the calendar: its listing and its multigets.
async fn recorded_import(
    postgres: &Postgres,
    redis: &Redis,
    radicale: &DavServer,
    calendar: &str,
    events: usize,
) -> Vec<Recorded> {
    let port = |url: &str| url::Url::parse(url).unwrap().port().unwrap();
    let recorder = Recorder::start(port(&radicale.url())).await;
    let through = account(&format!("http://127.0.0.1:{}/", recorder.port), radicale);
    let fleet = Fleet::start(postgres, redis, &through).await;
    let before = recorder.recorded().len();
    fleet.import().await;
    assert_eq!(held(&fleet), events);
    let path = url::Url::parse(calendar).unwrap().path().to_owned();
    let asked = recorder.recorded().split_off(before);
    let others = asked.iter().filter(|request| request.path != path).count();
    println!("requests for other things than the calendar {others}");
    asked.into_iter().filter(|request| request.path == path).collect()
}

async fn one_import(
    postgres: &Postgres,
    redis: &Redis,
    account: &Account,
    events: usize,
) -> (Duration, Duration) {
    let fleet = Fleet::start(postgres, redis, account).await;
    let before = fleet.cpu();
    let wall = fleet.import().await;
    let processor = fleet.cpu().saturating_sub(before);
    assert_eq!(held(&fleet), events);
    (wall, processor)
}

fn held(fleet: &Fleet<'_>) -> usize {
    fleet.database.execute("SELECT count(*) FROM events WHERE state = 0").unwrap().parse().unwrap()
}

/// The requests as a configuration of one curl process, which keeps the connection if the server does.
fn curl_script(folder: &Path, radicale: &DavServer, requests: &[Recorded]) -> std::path::PathBuf {
    let mut script = String::new();
    for (number, request) in requests.iter().enumerate() {
        let body = folder.join(format!("body-{number}"));
        std::fs::write(&body, &request.body).unwrap();
        let url = radicale.url() + request.path.trim_start_matches('/');
        let separator = if number == 0 { "" } else { "next\n" };
        write!(
            script,
            "{separator}silent\nfail\nurl = \"{url}\"\nrequest = \"{}\"\noutput = \"{}\"\ndata-binary = \"@{}\"\n",
            request.method,
            folder.join("answer").display(),
            body.display(),
        )
        .unwrap();
        for header in &request.headers {
            writeln!(script, "header = \"{}\"", header.replace('"', "\\\"")).unwrap();
        }
    }
    let file = folder.join("curl.conf");
    std::fs::write(&file, script).unwrap();
    file
}

/// A first sync of the same calendar into files.
fn run_vdirsyncer(folder: &Path, radicale: &DavServer, events: usize) -> (Duration, Duration) {
    let files = folder.join("files");
    std::fs::create_dir_all(files.join(CALENDAR)).unwrap();
    let settings = format!(
        "[general]\nstatus_path = \"{}\"\n[pair bench]\na = \"local\"\nb = \"remote\"\n\
         collections = [\"{CALENDAR}\"]\n[storage local]\ntype = \"filesystem\"\npath = \"{}\"\n\
         fileext = \".ics\"\n[storage remote]\ntype = \"caldav\"\nurl = \"{}ada/\"\nusername = \"{}\"\n\
         password = \"{}\"\n",
        folder.join("status").display(),
        files.display(),
        radicale.url(),
        radicale.user(),
        radicale.password(),
    );
    let file = folder.join("config");
    std::fs::write(&file, settings).unwrap();
    let command = |what: &str| {
        let mut command = Command::new(python_interpreter());
        command.args(["-m", "vdirsyncer", "--config"]).arg(&file).arg(what);
        command
    };
    process::run(&mut command("discover"));
    let times = process::run(&mut command("sync"));
    assert_eq!(std::fs::read_dir(files.join(CALENDAR)).unwrap().count(), events);
    times
}
