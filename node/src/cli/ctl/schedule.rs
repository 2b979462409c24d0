//! `ctl schedule`: jobs that an account's clock asks for.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use steward_proto::schedule::v1 as pb;

use super::client::Client;
use super::show;

#[derive(Debug, Subcommand)]
pub(super) enum ScheduleCommand {
    /// Makes a schedule
    Create {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        settings: Settings,
        /// A retry with the same key gets the first answer
        #[arg(long, default_value = "")]
        idempotency_key: String,
    },
    /// Lists schedules
    List { account: String },
    /// Shows a schedule
    Show {
        #[command(flatten)]
        of: Of,
        /// Its next ticks, too: so many
        #[arg(long, default_value_t = 0)]
        next: u32,
    },
    /// Replaces a schedule's settings
    Update {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        settings: Settings,
    },
    /// Makes no jobs until it is resumed
    Pause(Of),
    /// Goes on; what becomes of the ticks of the pause says --missed
    Resume(Of),
    /// Deletes a schedule
    Delete(Of),
    /// Tells when an expression ticks, and stores nothing
    Preview {
        account: String,
        /// Five fields of cron, or a name such as @daily
        expression: String,
        /// IANA name of a time zone
        #[arg(long, default_value = "UTC")]
        zone: String,
        /// How many ticks
        #[arg(long, default_value_t = 5)]
        next: u32,
        /// With --smoothing: the id it would have
        #[arg(long, default_value = "", value_name = "SCHEDULE")]
        of: String,
        /// Spreads ticks over this time behind them, such as 10m
        #[arg(long, default_value = "0s", value_name = "TIME", value_parser = humantime::parse_duration)]
        smoothing: Duration,
    },
}

#[derive(Debug, Args)]
pub(super) struct Of {
    account: String,
    schedule: String,
}

#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Five fields of cron, or a name such as @daily
    #[arg(long, value_name = "EXPRESSION")]
    cron: String,
    /// IANA name of a time zone
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// Kind of the jobs, as in `ctl job create`
    #[arg(long)]
    kind: String,
    /// JSON object
    #[arg(long, default_value = "{}")]
    input: String,
    /// 1 to 5; 1 is the most urgent, 0 the usual one
    #[arg(long, default_value_t = 0)]
    priority: u32,
    /// Fails a job unless it has ended so long after it was made, such as 2h
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = humantime::parse_duration)]
    within: Duration,
    /// Which ticks make jobs after a gap
    #[arg(long, default_value = "latest")]
    missed: Missed,
    /// What a tick does while the job of the last one is open
    #[arg(long, default_value = "allow")]
    overlap: Overlap,
    /// Spreads ticks over this time behind them, such as 10m
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = humantime::parse_duration)]
    smoothing: Duration,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Missed {
    All,
    Latest,
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Overlap {
    Allow,
    Skip,
}

impl Settings {
    fn asked(self) -> pb::ScheduleSettings {
        let missed = match self.missed {
            Missed::All => pb::MissedTicks::All,
            Missed::Latest => pb::MissedTicks::Latest,
            Missed::None => pb::MissedTicks::None,
        };
        let overlap = match self.overlap {
            Overlap::Allow => pb::Overlap::Allow,
            Overlap::Skip => pb::Overlap::Skip,
        };
        pb::ScheduleSettings {
            expression: self.cron,
            time_zone: self.zone,
            job_kind: self.kind,
            input_json: self.input,
            priority: self.priority,
            within_ms: ms(self.within),
            missed: missed.into(),
            overlap: overlap.into(),
            smoothing_ms: ms(self.smoothing),
        }
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) async fn run(client: &mut Client, command: ScheduleCommand) -> anyhow::Result<()> {
    let mut schedules = client.schedules();
    let schedule = match command {
        ScheduleCommand::Create { of: Of { account, schedule }, settings, idempotency_key } => {
            let request = pb::CreateScheduleRequest {
                account_id: account,
                schedule_id: schedule,
                settings: Some(settings.asked()),
                idempotency_key,
            };
            schedules.create_schedule(request).await?.into_inner().schedule
        }
        ScheduleCommand::List { account: account_id } => {
            let listed = schedules.list_schedules(pb::ListSchedulesRequest { account_id }).await?.into_inner();
            let rows: Vec<Value> = listed.schedules.iter().map(shown).collect();
            let columns = ["schedule", "cron", "zone", "kind", "state", "next", "last_tick", "taken", "skipped"];
            return client.out.rows(client.json, &rows, &columns);
        }
        ScheduleCommand::Show { of: Of { account: account_id, schedule: schedule_id }, next } => {
            let request = pb::GetScheduleRequest { account_id, schedule_id, ticks: next };
            let found = schedules.get_schedule(request).await?.into_inner();
            let mut value = shown(&found.schedule.context("the node answered without the schedule")?);
            if next > 0 {
                value["next_ticks"] = found.ticks.iter().map(tick).collect();
            }
            return client.out.one(client.json, &value);
        }
        ScheduleCommand::Preview { account: account_id, expression, zone: time_zone, next: ticks, of, smoothing } => {
            let (schedule_id, smoothing_ms, after_ms) = (of, ms(smoothing), 0);
            let request = pb::PreviewScheduleRequest {
                account_id,
                expression,
                time_zone,
                after_ms,
                ticks,
                schedule_id,
                smoothing_ms,
            };
            let told = schedules.preview_schedule(request).await?.into_inner();
            let rows: Vec<Value> = told.ticks.iter().map(tick).collect();
            return client.out.rows(client.json, &rows, &["tick", "due", "local"]);
        }
        ScheduleCommand::Update { of: Of { account: account_id, schedule: schedule_id }, settings } => {
            let request = pb::UpdateScheduleRequest { account_id, schedule_id, settings: Some(settings.asked()) };
            schedules.update_schedule(request).await?.into_inner().schedule
        }
        ScheduleCommand::Pause(Of { account: account_id, schedule: schedule_id }) => {
            schedules.pause_schedule(pb::PauseScheduleRequest { account_id, schedule_id }).await?.into_inner().schedule
        }
        ScheduleCommand::Resume(Of { account: account_id, schedule: schedule_id }) => {
            let request = pb::ResumeScheduleRequest { account_id, schedule_id };
            schedules.resume_schedule(request).await?.into_inner().schedule
        }
        ScheduleCommand::Delete(Of { account: account_id, schedule: schedule_id }) => {
            let told = json!({"schedule": schedule_id, "state": "deleted"});
            schedules.delete_schedule(pb::DeleteScheduleRequest { account_id, schedule_id }).await?;
            return client.out.one(client.json, &told);
        }
    };
    client.out.one(client.json, &shown(&schedule.unwrap_or_default()))
}

fn shown(schedule: &pb::Schedule) -> Value {
    let settings = schedule.settings.clone().unwrap_or_default();
    let missed = match settings.missed() {
        pb::MissedTicks::All => "all",
        pb::MissedTicks::None => "none",
        pb::MissedTicks::Latest | pb::MissedTicks::Unspecified => "latest",
    };
    let overlap = match settings.overlap() {
        pb::Overlap::Skip => "skip",
        pb::Overlap::Allow | pb::Overlap::Unspecified => "allow",
    };
    json!({
        "schedule": schedule.schedule_id,
        "cron": settings.expression,
        "zone": settings.time_zone,
        "kind": settings.job_kind,
        "input": show::parsed(&settings.input_json),
        "priority": settings.priority,
        "within_ms": settings.within_ms,
        "missed": missed,
        "overlap": overlap,
        "smoothing_ms": settings.smoothing_ms,
        "state": if schedule.paused { "paused" } else { "active" },
        "created": show::time(schedule.created_at_ms),
        "next": show::time(schedule.next.as_ref().map_or(0, |next| next.due_ms)),
        "last_tick": show::time(schedule.last_tick_ms),
        "last_job": schedule.last_job_id,
        "taken": schedule.taken_total,
        "skipped": schedule.skipped_total,
    })
}

fn tick(tick: &pb::Tick) -> Value {
    json!({"tick": show::time(tick.tick_ms), "due": show::time(tick.due_ms), "local": tick.local_time})
}
