//! Many accounts, each touched once: what a node holds for them.

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use steward_cluster::clock::{Clock, SystemClock};
use steward_proto::account::v1::CreateAccountRequest;
use steward_proto::account::v1::account_service_client::AccountServiceClient;

use crate::figure::{Figure, Report, Want, count};
use crate::meter::{Meter, rss_mb};
use crate::node::Node;
use crate::{Settings, figure};

const ACCOUNTS: usize = 100_000;
/// Calls in flight.
const CONCURRENT: usize = 256;
const MB: f64 = 1e6;

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# accounts: 100,000 accounts, each created (one durable command, one event) over one gRPC connection");
    let node = Node::start(&settings.steward, &[])?;
    let before = rss_mb(node.pid())?;
    let api = node.api().await?;
    let (clock, meter) = (SystemClock::new(), Meter::start(&[node.pid()])?);
    let calls = (0..ACCOUNTS).map(|at| {
        let mut client = AccountServiceClient::new(api.clone());
        async move {
            let asked = CreateAccountRequest { account_id: format!("a{at}"), ..CreateAccountRequest::default() };
            client.create_account(asked).await.map(|_| ()).context("an account cannot be made")
        }
    });
    stream::iter(calls).buffer_unordered(CONCURRENT).try_collect::<()>().await?;
    let (seconds, usage) = (clock.monotonic().as_secs_f64(), meter.stop()?);
    let after = rss_mb(node.pid())?;
    let case = "touched-100000";
    report.add(Figure::new("accounts", case, "rss_mb", &[after]).want(Want::AtMost(400.0)));
    let each = (after - before) * MB / count(ACCOUNTS);
    report.add(Figure::new("accounts", case, "bytes_each", &[each]));
    report.add(Figure::new("accounts", case, "rate_per_s", &[count(ACCOUNTS) / seconds]));
    report.add(Figure::new("accounts", case, "cpu_ms_each", &[usage.cpu_s * 1000.0 / count(ACCOUNTS)]));
    report.add(Figure::new("accounts", "machine", "client_cpu_cores", &[usage.own_cores]));
    report.add(Figure::new("accounts", "machine", "other_cpu_cores", &[usage.other_cores]));
    Ok(())
}
