-- Snapshots of the states of aggregate instances. A snapshot that is lost only costs a longer fold.

create table evsrc.snapshots (
  stream text collate "C" not null,
  -- Covers all that the state depends on except the events. Code with another fingerprint reads another row, or none.
  fingerprint text collate "C" not null,
  -- The version, position and id of the last event in the state.
  version bigint not null check (version > 0),
  position bigint not null,
  event_id uuid not null,
  -- JSON as text: the database does not parse it.
  state text not null,
  taken_at timestamptz not null,
  primary key (stream, fingerprint)
);

insert into evsrc.migrations (migration_id, name) values (4, '0004_snapshots') on conflict do nothing;
