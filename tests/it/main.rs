mod manifests;
mod pipelines;
