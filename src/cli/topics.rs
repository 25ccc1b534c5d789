//! `millstream topics`

use clap::Args;

use super::client::{Client, ServerArgs};
use super::output::{Out, Side, number};
use crate::http::TopicView;

/// Show the topics: partitions and records of each.
#[derive(Debug, Args)]
pub(super) struct Topics {
    #[command(flatten)]
    server: ServerArgs,
}

impl Topics {
    pub(super) fn run(self, mut out: Out) -> anyhow::Result<()> {
        let topics: Vec<TopicView> = Client::new(&self.server).get("/v1/topics", &[])?;
        if out.is_json() {
            out.json(&topics)?;
        } else if topics.is_empty() {
            out.line("no topics; the first record produced to one makes it")?;
        } else {
            let columns =
                [("topic", Side::Left), ("partitions", Side::Right), ("records", Side::Right)];
            let row = |topic: &TopicView| {
                let partitions = topic.partitions.len() as u64;
                vec![topic.name.clone(), number(partitions), number(topic.records())]
            };
            let rows: Vec<_> = topics.iter().map(row).collect();
            out.table("", &columns, &rows)?;
        }
        out.flush()
    }
}
