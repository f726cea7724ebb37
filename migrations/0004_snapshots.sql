-- Snapshots: states of aggregates' instances beside their streams. What is lost here is only folded again.

create table evsrc.snapshots (
  stream text collate "C" not null,
  -- Of all that the state rests on but the events: whoever has another reads another row, or none.
  fingerprint text collate "C" not null,
  -- Of the last event in the state.
  version bigint not null check (version > 0),
  position bigint not null,
  event_id uuid not null,
  -- JSON, which the server need not look into.
  state text not null,
  taken_at timestamptz not null,
  primary key (stream, fingerprint)
);

insert into evsrc.migrations (migration_id, name) values (4, '0004_snapshots') on conflict do nothing;
