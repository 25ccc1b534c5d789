//! `millstream pipelines`

use clap::Args;

use super::client::{Client, ServerArgs};
use super::output::{Out, Side, number};
use crate::http::PipelineView;

/// Show the pipelines: state, checkpoint, lag and counts of each source partition.
#[derive(Debug, Args)]
pub(super) struct Pipelines {
    #[command(flatten)]
    server: ServerArgs,
}

impl Pipelines {
    pub(super) fn run(self, mut out: Out) -> anyhow::Result<()> {
        let pipelines: Vec<PipelineView> = Client::new(&self.server).get("/v1/pipelines", &[])?;
        if out.is_json() {
            out.json(&pipelines)?;
        } else if pipelines.is_empty() {
            out.line("no pipelines; deploy some with `millstream deploy MANIFEST`")?;
        } else {
            print(&mut out, &pipelines)?;
        }
        out.flush()
    }
}

fn print(out: &mut Out, pipelines: &[PipelineView]) -> anyhow::Result<()> {
    use Side::{Left, Right};
    let columns = [
        ("pipeline", Left),
        ("state", Left),
        ("source", Left),
        ("checkpoint", Right),
        ("lag", Right),
        ("in", Right),
        ("out", Right),
        ("dropped", Right),
        ("skipped", Right),
        ("dead letters", Right),
    ];
    let mut rows = Vec::new();
    for pipeline in pipelines {
        for partition in &pipeline.partitions {
            let counts = &partition.counts;
            let mut row = vec![
                pipeline.name.clone(),
                pipeline.state.clone(),
                format!("{}/{}", partition.topic, partition.partition),
                partition.checkpoint.map_or_else(|| "-".to_owned(), number),
                number(partition.lag),
            ];
            let more =
                [counts.input, counts.output, counts.dropped, counts.skipped, counts.dead_lettered];
            row.extend(more.map(number));
            rows.push(row);
        }
        if pipeline.partitions.is_empty() {
            let source = "-".to_owned();
            rows.push(vec![pipeline.name.clone(), pipeline.state.clone(), source]);
        }
    }
    out.table("", &columns, &rows)?;
    for pipeline in pipelines {
        if let Some(reason) = &pipeline.reason {
            out.line(format!("\n{}: {reason}", pipeline.name))?;
        }
    }
    Ok(())
}
