//! `millstream groups`

use clap::Args;

use super::client::{Client, ServerArgs};
use super::output::{Out, Side, number};
use crate::http::GroupView;

/// Show the consumer groups: state, members, and how far each is in each partition.
#[derive(Debug, Args)]
pub(super) struct Groups {
    #[command(flatten)]
    server: ServerArgs,
}

impl Groups {
    pub(super) fn run(self, mut out: Out) -> anyhow::Result<()> {
        let groups: Vec<GroupView> = Client::new(&self.server).get("/v1/groups", &[])?;
        if out.is_json() {
            out.json(&groups)?;
        } else if groups.is_empty() {
            out.line("no consumer groups; a consumer with a group id makes one")?;
        } else {
            print(&mut out, &groups)?;
        }
        out.flush()
    }
}

fn print(out: &mut Out, groups: &[GroupView]) -> anyhow::Result<()> {
    use Side::{Left, Right};
    let columns = [
        ("group", Left),
        ("state", Left),
        ("members", Right),
        ("partition", Left),
        ("offset", Right),
        ("lag", Right),
    ];
    let mut rows = Vec::new();
    for group in groups {
        let head =
            || vec![group.group.clone(), group.state.clone(), number(group.members.len() as u64)];
        for at in &group.offsets {
            let mut row = head();
            row.push(format!("{}/{}", at.topic, at.partition));
            row.extend([at.offset, at.lag].map(number));
            rows.push(row);
        }
        if group.offsets.is_empty() {
            rows.push(head());
        }
    }
    out.table("", &columns, &rows)
}
