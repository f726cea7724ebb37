-- The log. Run by PgMigrations, or by hand with psql. Where the schema is to have another name, replace `evsrc`
-- wherever a dot or a semicolon follows.
create schema if not exists evsrc;

-- Which migrations have run, whoever ran them.
create table if not exists evsrc.migrations (
  migration_id integer primary key,
  created_at timestamptz not null default now(),
  name text not null
);

-- Positions are drawn one at a time (cache 1) inside append only, after its in-flight mark lock. The first is burnt here, so that
-- the sequence always has a last value and no event ever has position 0.
create sequence evsrc.positions as bigint minvalue 0 start 0 cache 1;
do $$ begin perform nextval('evsrc.positions'); end $$;

create table evsrc.events (
  position bigint primary key,
  stream text collate "C" not null,
  version bigint not null,
  type text collate "C" not null,
  schema_version integer not null,
  id uuid not null,
  -- On the first event of an append only: the command that caused it, and how many events it caused.
  command_id text collate "C",
  command_events integer,
  -- json and not jsonb: it keeps what was written byte for byte, and takes every string that JSON can hold (\u0000 too).
  data json not null,
  metadata json not null,
  recorded_at timestamptz not null,
  -- Null for an event without tags.
  tags text[] collate "C",
  -- The event's link in the hash chain of its stream; null where it is not chained.
  hash bytea,
  -- True on the event that closed its stream, which is its last; else null. Appends see it where they look up the version.
  closes boolean,
  constraint events_stream_version unique (stream, version)
);

create unique index events_command on evsrc.events (command_id) where command_id is not null;

-- The events of a tag. The tag is hashed to keep the index small; events.tags has the text.
create table evsrc.event_tags (
  tag bigint not null,
  position bigint not null,
  primary key (tag, position)
);

create function evsrc.reject_change() returns trigger language plpgsql as $$
begin
  raise exception 'events are immutable: % on %.% is refused', tg_op, tg_table_schema, tg_table_name
    using errcode = 'restrict_violation', hint = 'Append a new event that corrects the old one.';
end $$;

create trigger events_immutable before update or truncate on evsrc.events
  for each statement execute function evsrc.reject_change();

create trigger event_tags_immutable before update or delete or truncate on evsrc.event_tags
  for each statement execute function evsrc.reject_change();

-- The streams that take no more events, and which of these `archive` has moved.
create table evsrc.closed_streams (
  stream text collate "C" primary key,
  -- Of the last event, which closed it.
  version bigint not null,
  "position" bigint not null unique,
  closed_at timestamptz not null,
  -- Null while its events are in evsrc.events.
  archived_at timestamptz
);

-- A closed stream stays closed, and an archived one archived: an append does not look for its version elsewhere.
create function evsrc.keep_closed() returns trigger language plpgsql as $$
begin
  if tg_op <> 'UPDATE' or old.archived_at is not null
    or (new.stream, new.version, new."position", new.closed_at) is distinct from (old.stream, old.version, old."position", old.closed_at)
  then
    raise exception 'closed streams stay closed: % on %.% is refused', tg_op, tg_table_schema, tg_table_name
      using errcode = 'restrict_violation';
  end if;
  return new;
end $$;

create trigger closed_streams_kept before update or delete on evsrc.closed_streams
  for each row execute function evsrc.keep_closed();

create trigger closed_streams_immutable before truncate on evsrc.closed_streams
  for each statement execute function evsrc.reject_change();

-- The events of archived streams: out of the way of appends, and as immutable as all others.
create table evsrc.archived_events (like evsrc.events including all);

create trigger archived_events_immutable before update or delete or truncate on evsrc.archived_events
  for each statement execute function evsrc.reject_change();

-- Whoever reads the log reads this; an event is in one of both. Appends need no more of it than their stream and command id.
create view evsrc.log as select * from evsrc.events union all select * from evsrc.archived_events;

-- What is deleted from evsrc.events must stand byte for byte in evsrc.archived_events, and its stream must be archived. So no event is lost,
-- whoever deletes, and by whatever statement.
create function evsrc.reject_loss() returns trigger language plpgsql
-- A probe for each row (hence no "exists", of which a hash of the whole table may be made): how many they are is not known when it is planned.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  if exists (
    select from deleted d
      where (select true from evsrc.archived_events a where a."position" = d."position" and a::text = d::text limit 1) is null
        or (select true from evsrc.closed_streams c where c.stream = d.stream and c.archived_at is not null limit 1) is null
  ) then
    raise exception 'events are immutable: % on %.% is refused', tg_op, tg_table_schema, tg_table_name
      using errcode = 'restrict_violation', hint = 'Append a new event that corrects the old one.';
  end if;
  return null;
end $$;

create trigger events_kept after delete on evsrc.events
  referencing old table as deleted for each statement execute function evsrc.reject_loss();

-- Nor is one doubled.
create function evsrc.reject_duplicate_event() returns trigger language plpgsql
-- As above.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  if exists (select from inserted i join evsrc.events e on e."position" = i."position") then
    raise exception 'an event is either in the log or archived: % on %.% is refused', tg_op, tg_table_schema, tg_table_name
      using errcode = 'restrict_violation', hint = 'Archive by the function archive only.';
  end if;
  return null;
end $$;

create trigger archived_events_moved after insert on evsrc.archived_events
  referencing new table as inserted for each statement execute function evsrc.reject_duplicate_event();

-- Ordering and in-flight mark are sound under READ COMMITTED on a primary only; elsewhere both refuse.
create function evsrc.require_read_committed() returns void language plpgsql as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'the event store needs transaction isolation READ COMMITTED, not %',
      upper(current_setting('transaction_isolation')) using errcode = 'EV001';
  end if;
  if pg_is_in_recovery() then
    raise exception 'the event store needs the primary server, this is a standby' using errcode = 'EV001';
  end if;
end $$;

-- A query has items; it selects the events that match one of them: of one of the item's types (or any, when it names none) and with all
-- of its tags. It names at least one of either. It comes as arrays of pairs: types as (item, type), tags as (item, tag); items are numbered from 1 to q_items.
create type evsrc.query_item as (types text[], tags text[]);

create function evsrc.query_items(q_items integer, q_type_of integer[], q_type text[], q_tag_of integer[], q_tag text[])
returns evsrc.query_item[] language sql immutable as $$
  select array_agg(row(
      array(select t from unnest(q_type_of, q_type) with ordinality as u(o, t, k) where o = n order by k),
      array(select t from unnest(q_tag_of, q_tag) with ordinality as u(o, t, k) where o = n order by k)
    )::evsrc.query_item order by n)
    from generate_series(1, q_items) as n
$$;

-- The newest event that matches a query, lies after a_after and is none of a_seen; null when there is none.
create function evsrc.last_match(a_items evsrc.query_item[], a_after bigint, a_seen bigint[])
returns bigint language plpgsql volatile as $$
declare
  item evsrc.query_item;
  newest bigint;
  found_one bigint;
begin
  foreach item in array a_items loop
    if cardinality(item.tags) > 0 then
      select t.position into found_one
        from evsrc.event_tags t join evsrc.log e on e.position = t.position
        where t.tag = hashtextextended(item.tags[1], 0) and t.position > a_after and t.position <> all (a_seen)
          and e.tags @> item.tags and (cardinality(item.types) = 0 or e.type = any (item.types))
        order by t.position desc limit 1;
    else
      select e.position into found_one
        from evsrc.log e
        where e.position > a_after and e.position <> all (a_seen)
          and (cardinality(item.types) = 0 or e.type = any (item.types))
        order by e.position desc limit 1;
    end if;
    newest := greatest(newest, found_one);
  end loop;
  return newest;
end $$;

-- Takes the locks of tags and types: shared for each one that is written, exclusive for one atom of each item of a condition (its first
-- tag, or else each of its types). So a condition is checked when every append that could break it is either visible or has yet to
-- wait. Each key once, in its strongest mode, in one order for all.
create function evsrc.lock_types_and_tags(a_type text[], a_tags text[], a_items evsrc.query_item[])
returns void language plpgsql volatile as $$
begin
  perform case when exclusive
      then pg_advisory_xact_lock('evsrc.event_tags'::regclass::oid::integer, key)
      else pg_advisory_xact_lock_shared('evsrc.event_tags'::regclass::oid::integer, key) end
    from (
      select hashtext(atom) as key, bool_or(exclusive) as exclusive
        from (
          select 'y' || t as atom, false as exclusive from unnest(a_type) as t
          union all select 't' || t, false from unnest(a_tags) as tags, unnest(tags::text[]) as t
          union all select 't' || i.tags[1], true from unnest(a_items) as i where cardinality(i.tags) > 0
          union all select 'y' || t, true from unnest(a_items) as i, unnest(i.types) as t where cardinality(i.tags) = 0
        ) as atoms
        group by 1
        order by 1
    ) as locks;
end $$;

-- The last position drawn. Its null, for a role that may not read the sequence, would turn the locks and bounds made of it into nothing.
create function evsrc.last_position_drawn() returns bigint language plpgsql volatile as $$
declare
  drawn bigint := pg_sequence_last_value('evsrc.positions');
begin
  if drawn is null then
    raise exception 'this role may not read the sequence evsrc.positions' using errcode = 'EV001',
      hint = 'GRANT USAGE, SELECT ON SEQUENCE to it.';
  end if;
  return drawn;
end $$;

-- Appends one event without tags, on no other condition than its stream's version: what `append` below does, without arrays, which would
-- make this most frequent of appends cost the server twice as much. For the same reason, what is a function elsewhere is written out here.
--   a_wait       whether to wait while another transaction appends to the stream or under the command id; else that is 'busy'
--   a_expected   null: any version; -1: the stream exists; else that very version (0: no stream)
--   a_command    null, or the id of the command; a known one is not appended again
-- Answers an outcome:
--   'appended'   with the version and the position of the event
--   'conflict'   with the stream's true version
--   'duplicate'  the command id is known
--   'closed'     the stream takes no more events; with its version
--   'busy'       another transaction is at it
create function evsrc.append_one(
  a_wait boolean, a_stream text, a_expected bigint, a_command text,
  e_id uuid, e_type text, e_schema integer, e_data text, e_metadata text,
  out outcome text, out version bigint, out "position" bigint, out recorded_at timestamptz
) language plpgsql volatile
-- Planned once, for probes of indexes: a plan made for a small table would be kept as the table grows.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  last bigint;
  closed boolean;
begin
  if current_setting('transaction_isolation') <> 'read committed' or pg_is_in_recovery() then
    perform evsrc.require_read_committed();
  end if;
  -- Appends to one stream take turns. The key is the table's oid, which no other store or user of the database has.
  -- So do appends of one command id, on whatever streams: the later finds what the earlier has written.
  if a_wait then
    perform pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext(a_stream));
    if a_command is not null then
      perform pg_advisory_xact_lock('evsrc.events_command'::regclass::oid::integer, hashtext(a_command));
    end if;
    perform pg_advisory_xact_lock_shared('evsrc.event_tags'::regclass::oid::integer, hashtext('y' || e_type));
  elsif not pg_try_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext(a_stream))
    or a_command is not null
      and not pg_try_advisory_xact_lock('evsrc.events_command'::regclass::oid::integer, hashtext(a_command))
    or not pg_try_advisory_xact_lock_shared('evsrc.event_tags'::regclass::oid::integer, hashtext('y' || e_type))
  then
    outcome := 'busy';
    return;
  end if;
  if a_command is not null then
    perform from evsrc.events e where e.command_id = a_command
      union all select from evsrc.archived_events e where e.command_id = a_command;
    if found then
      outcome := 'duplicate';
      return;
    end if;
  end if;
  select e.version, e.closes into version, closed from evsrc.events e where e.stream = a_stream order by e.version desc limit 1;
  if version is null then
    select c.version, true into version, closed from evsrc.closed_streams c where c.stream = a_stream;
  end if;
  if closed then
    outcome := 'closed';
    return;
  end if;
  version := coalesce(version, 0);
  if a_expected is not null and not (a_expected = version or (a_expected = -1 and version > 0)) then
    outcome := 'conflict';
    return;
  end if;
  outcome := 'appended';
  version := version + 1;
  -- As precise as a reader's clock, which thus gets what is kept.
  recorded_at := date_trunc('milliseconds', clock_timestamp());
  -- The in-flight mark: a shared lock on a lower bound of the position drawn below, held until this append is visible. Its second
  -- key has 32 bits, so it keeps the low half of the bound; high_water_mark knows the rest.
  last := pg_sequence_last_value('evsrc.positions');
  if last is null then
    perform evsrc.last_position_drawn();
  end if;
  perform pg_advisory_xact_lock_shared('evsrc.positions'::regclass::oid::integer, (last & 4294967295)::bit(32)::integer);
  position := nextval('evsrc.positions');
  insert into evsrc.events (position, stream, version, type, schema_version, id, command_id, command_events, data, metadata, recorded_at)
    values (append_one.position, a_stream, append_one.version, e_type, e_schema, e_id, a_command,
      case when a_command is not null then 1 end, e_data::json, e_metadata::json, append_one.recorded_at);
end $$;

-- Appends to one stream or to several, in one statement and one commit; one append's conflict or duplicate does not touch the others.
-- No stream and no command id may occur twice in one call, since a statement does not see what it writes.
--   a_*      one element an append: its stream, what it expects and its command id as for `append_one` (either is null where all its
--            elements would be), and the number of its events
--   e_*      one element an event, in the order of the appends and of each one's events
--   e_tags   for each event its tags as the text of an array, or null; null where all its elements would be
--   q_*      null, or a query that must match no event after q_after but those of q_seen; there is but one append then
--   a_closes whether the last event closes its stream; there is but one append then
-- Answers, for each append, an outcome as `append_one` does, or 'changed': the query matches, last the event at the one position;
-- for each append the stream's version, and for each event its position, null where it was not written.
create function evsrc.append(
  a_wait boolean, a_stream text[], a_expected bigint[], a_command text[], a_events integer[],
  e_id uuid[], e_type text[], e_schema integer[], e_data text[], e_metadata text[], e_tags text[],
  q_items integer, q_type_of integer[], q_type text[], q_tag_of integer[], q_tag text[], q_after bigint, q_seen bigint[],
  a_closes boolean default false,
  out outcomes text[], out versions bigint[], out positions bigint[], out recorded_at timestamptz
) language plpgsql volatile
-- As above; and to plan it again, which it would be for every new length of its arrays, costs as much as to run it.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  items evsrc.query_item[];
  expected bigint;
  known integer;
  newest bigint;
  closed boolean[];
  missing integer;
  ended bigint;
  held integer[];
  e_of integer[];
  e_version bigint[];
  n integer := 0;
begin
  perform evsrc.require_read_committed();
  -- Without a command id, the second lock is that of a null, which is none.
  for i in 1 .. cardinality(a_stream) loop
    outcomes[i] := 'appended';
    if a_wait then
      perform pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext(a_stream[i]));
      perform pg_advisory_xact_lock('evsrc.events_command'::regclass::oid::integer, hashtext(a_command[i]));
    elsif not pg_try_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext(a_stream[i]))
      or not pg_try_advisory_xact_lock('evsrc.events_command'::regclass::oid::integer, hashtext(a_command[i]))
    then
      outcomes[i] := 'busy';
    end if;
  end loop;
  if not a_wait then
    -- What is not waited for needs no order. A condition elsewhere holds one of these locks but for a moment, or for as long as the
    -- transaction lasts that it is part of.
    held := array(
      select key
        from (
          select hashtext('y' || t) as key from unnest(e_type) as t
          union select hashtext('t' || t) from unnest(e_tags) as tags, unnest(tags::text[]) as t
        ) as keys
        where not pg_try_advisory_xact_lock_shared('evsrc.event_tags'::regclass::oid::integer, key)
    );
    if cardinality(held) > 0 then
      for i in 1 .. cardinality(a_stream) loop
        for k in 1 .. a_events[i] loop
          n := n + 1;
          if hashtext('y' || e_type[n]) = any (held)
            or exists (select from unnest(e_tags[n]::text[]) as t where hashtext('t' || t) = any (held))
          then
            outcomes[i] := 'busy';
          end if;
        end loop;
      end loop;
      n := 0;
    end if;
  elsif q_items is null and e_tags is null then
    perform pg_advisory_xact_lock_shared('evsrc.event_tags'::regclass::oid::integer, key)
      from (select distinct hashtext('y' || t) as key from unnest(e_type) as t order by key) as keys;
  else
    items := evsrc.query_items(q_items, q_type_of, q_type, q_tag_of, q_tag);
    perform evsrc.lock_types_and_tags(e_type, e_tags, items);
  end if;
  if a_command is not null then
    for known in
      select c.i from unnest(a_command) with ordinality as c(id, i)
        where (select true from evsrc.events e where e.command_id = c.id limit 1)
          or (select true from evsrc.archived_events e where e.command_id = c.id limit 1)
    loop
      -- Also one that was busy: there is nothing to wait for.
      outcomes[known] := 'duplicate';
    end loop;
  end if;
  select array_agg(e.version), array_agg(e.closes) into versions, closed
    from unnest(a_stream) as s left join lateral (
      select e.version, e.closes from evsrc.events e where e.stream = s order by e.version desc limit 1
    ) as e on true;
  if array_position(versions, null) is not null then
    -- New streams, or archived ones.
    for missing, ended in
      select o, (select c.version from evsrc.closed_streams c where c.stream = s)
        from unnest(a_stream, versions) with ordinality as u(s, v, o)
        where v is null
    loop
      versions[missing] := coalesce(ended, 0);
      closed[missing] := ended is not null;
    end loop;
  end if;
  for i in 1 .. cardinality(a_stream) loop
    expected := a_expected[i];
    if closed[i] and outcomes[i] = 'appended' then
      outcomes[i] := 'closed';
    end if;
    -- A null expects nothing: nothing follows from a comparison with it.
    if outcomes[i] = 'appended' and not (expected = versions[i] or (expected = -1 and versions[i] > 0)) then
      outcomes[i] := 'conflict';
    end if;
  end loop;
  if items is not null and outcomes[1] = 'appended' then
    newest := evsrc.last_match(items, q_after, q_seen);
    if newest is not null then
      outcomes[1] := 'changed';
      positions := array[newest];
      return;
    end if;
  end if;
  if not 'appended' = any (outcomes) then
    return;
  end if;
  -- As precise as a reader's clock, which thus gets what is kept.
  recorded_at := date_trunc('milliseconds', clock_timestamp());
  perform pg_advisory_xact_lock_shared(
    'evsrc.positions'::regclass::oid::integer,
    (evsrc.last_position_drawn() & 4294967295)::bit(32)::integer
  );
  for i in 1 .. cardinality(a_stream) loop
    for k in 1 .. a_events[i] loop
      n := n + 1;
      e_of[n] := i;
      e_version[n] := versions[i] + k;
      positions[n] := case when outcomes[i] = 'appended' then nextval('evsrc.positions') end;
    end loop;
    if outcomes[i] = 'appended' then
      versions[i] := versions[i] + a_events[i];
    end if;
  end loop;
  insert into evsrc.events (position, stream, version, type, schema_version, id, command_id, command_events, data, metadata, recorded_at,
      tags, closes)
    select p, a_stream[o], v, t, s, id,
        case when v = versions[o] - a_events[o] + 1 then a_command[o] end,
        case when v = versions[o] - a_events[o] + 1 and a_command[o] is not null then a_events[o] end,
        d::json, m::json, append.recorded_at, tags::text[], case when a_closes and v = versions[o] then true end
      from unnest(positions, e_of, e_version, e_id, e_type, e_schema, e_data, e_metadata, e_tags) as u(p, o, v, id, t, s, d, m, tags)
      where p is not null;
  if a_closes then
    insert into evsrc.closed_streams (stream, version, "position", closed_at)
      values (a_stream[1], versions[1], positions[n], append.recorded_at);
  end if;
  if e_tags is not null then
    insert into evsrc.event_tags (tag, position)
      select distinct hashtextextended(tag, 0), p
        from unnest(positions, e_tags) as u(p, tags), unnest(tags::text[]) as tag
        where p is not null;
  end if;
end $$;

-- The high-water mark: the last visible event before which nothing is undecided. Whatever is at or below it and will ever be visible, is visible
-- to the next statement. It must be computed in statements of their own, before the statement that reads, hence volatile and plpgsql.
-- It is an event and not a bound: a bound counts positions that were rolled back, which a crash may give out again.
create function evsrc.high_water_mark() returns bigint language plpgsql volatile as $$
declare
  head bigint;
  behind bigint;
begin
  perform evsrc.require_read_committed();
  head := evsrc.last_position_drawn();
  -- How far the lower bound of the oldest append in flight lies behind. A distance of 2^31 and more is a bound above head,
  -- taken since head was read: such an append draws positions above head too.
  select max(distance) into behind
    from (
      select (head - objid::bigint) & 4294967295 as distance
        from pg_locks
        where locktype = 'advisory' and objsubid = 2 and classid = 'evsrc.positions'::regclass::oid
          and database = (select oid from pg_database where datname = current_database())
    ) as bounds
    where distance < 2147483648;
  select e.position into head from evsrc.log e where e.position <= head - coalesce(behind, 0)
    order by e.position desc limit 1;
  return coalesce(head, 0);
end $$;

-- Whether an event is one of those a consumer of the log asks for.
--   f_types      null, or the types
--   f_tags       null, or tags that it must all have
--   f_prefix     null, or how its stream's name begins
--   f_partition  of f_partitions: by the hash of the stream's name
create function evsrc.matches_filter(
  e_stream text, e_type text, e_tags text[],
  f_types text[], f_tags text[], f_prefix text, f_partition integer, f_partitions integer
) returns boolean language sql immutable as $$
  select (f_types is null or e_type = any (f_types))
    and (f_partitions = 1 or (hashtextextended(e_stream, 0) & 2147483647) % f_partitions = f_partition)
    and (f_tags is null or e_tags @> f_tags)
    and (f_prefix is null or starts_with(e_stream, f_prefix))
$$;

-- A page of the log: events after a_after and up to the high-water mark, of those that are followed. Every row carries the head;
-- an empty page has one row with nothing else.
create function evsrc.read_all(
  a_after bigint, a_limit integer, f_types text[], f_tags text[], f_prefix text, f_partition integer, f_partitions integer
) returns table (head bigint, "position" bigint, stream text, version bigint, type text, schema_version integer, id uuid,
  data json, metadata json, recorded_at timestamptz, tags text[])
language plpgsql volatile
-- As for appends: planned once, to go along the positions.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  safe bigint := evsrc.high_water_mark();
begin
  return query
    select safe, e.position, e.stream, e.version, e.type, e.schema_version, e.id, e.data, e.metadata, e.recorded_at, e.tags
      from evsrc.log e
      where e.position > a_after and e.position <= safe
        and evsrc.matches_filter(e.stream, e.type, e.tags, f_types, f_tags, f_prefix, f_partition, f_partitions)
      order by e.position
      limit a_limit;
  if not found then
    return query select safe, null::bigint, null::text, null::bigint, null::text, null::integer, null::uuid, null::json,
      null::json, null::timestamptz, null::text[];
  end if;
end $$;

-- A page of the log as it is kept, byte for byte, for copies and for proofs: the rows after a_after and up to the high-water mark. Every row
-- carries the head; an empty page has one row with nothing else.
--   a_links      whether to look up, too, the event before it in its stream: its version and its hash
--   micros       what recorded_at has below the millisecond: nothing, if append has written it
create function evsrc.read_stored(a_after bigint, a_limit integer, a_links boolean)
returns table (head bigint, "position" bigint, stream text, version bigint, type text, schema_version integer, id uuid,
  command_id text, command_events integer, data text, metadata text, recorded_at timestamptz, micros integer, tags text[], hash text,
  closes boolean,
  previous_version bigint, previous_hash text)
language plpgsql volatile
-- As above.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  safe bigint := evsrc.high_water_mark();
begin
  return query
    select safe, e.position, e.stream, e.version, e.type, e.schema_version, e.id, e.command_id, e.command_events,
        e.data::text, e.metadata::text, e.recorded_at, extract(microseconds from e.recorded_at)::integer % 1000, e.tags,
        encode(e.hash, 'hex'), e.closes, p.version, encode(p.hash, 'hex')
      from evsrc.log e
        left join lateral (
          select b.version, b.hash from evsrc.log b
            where a_links and b.stream = e.stream and b.version < e.version
            order by b.version desc limit 1
        ) as p on true
      where e.position > a_after and e.position <= safe
      order by e.position
      limit a_limit;
  if not found then
    return query select safe, null::bigint, null::text, null::bigint, null::text, null::integer, null::uuid, null::text,
      null::integer, null::text, null::text, null::timestamptz, null::integer, null::text[], null::text, null::boolean, null::bigint, null::text;
  end if;
end $$;

-- A hash of the correlation id in metadata; null where there is none. It is of ids of any length, and different ids may have the same.
-- PostgreSQL cannot make text of some of what JSON may hold, such as \u0000, wherever in the metadata that is; so each \u becomes /u first,
-- which is valid JSON also behind a backslash.
create function evsrc.correlation_hash(metadata json) returns bigint language sql immutable as $$
  select hashtextextended(replace(metadata::text, '\u', '/u')::json ->> 'correlationId', 0)
$$;

-- The indexes by which the events of a conversation, or an event of some id, are found without a look at the whole log.
create function evsrc.create_causation_indexes() returns void language plpgsql as $$
begin
  create index if not exists events_correlation on evsrc.events (evsrc.correlation_hash(metadata), position);
  create index if not exists events_id on evsrc.events (id);
  create index if not exists archived_events_correlation on evsrc.archived_events (evsrc.correlation_hash(metadata), position);
  create index if not exists archived_events_id on evsrc.archived_events (id);
end $$;

-- A text as part of what is hashed: its length in bytes, then its bytes; a null has the length -1.
create function evsrc.chain_text(t text) returns bytea language sql stable as $$
  select coalesce(int4send(octet_length(convert_to(t, 'UTF8'))) || convert_to(t, 'UTF8'), int4send(-1))
$$;

-- Links an event to the one before it in its stream: SHA-256 of that one's hash and of everything that is kept of this one. A row trigger,
-- so that it is right for every way to insert; it sees the rows that the same statement has inserted before. src/domain/HashLink.ts does
-- the same to verify it.
create function evsrc.chain_event() returns trigger language plpgsql as $$
declare
  previous bytea;
  tags bytea := int4send(0);
begin
  if new.hash is not null or current_setting('event_store.restoring', true) = 'on' then
    -- It is restored, and keeps the hash that it had, or none: the next was made of that. Whether it is right is for a verification to say.
    return new;
  end if;
  if new.version > 1 then
    select e.hash into previous from evsrc.events e where e.stream = new.stream and e.version = new.version - 1;
    if not found then
      raise exception 'event % of stream % cannot be chained: the one before it is missing', new.version, new.stream
        using hint = 'Restore data with its hashes: with triggers disabled, as pg_restore --disable-triggers does.';
    end if;
  end if;
  if new.tags is not null then
    select int4send(count(*)::integer) || coalesce(string_agg(evsrc.chain_text(t), '' order by k), '') into tags
      from unnest(new.tags) with ordinality as u(t, k);
  end if;
  new.hash := sha256(
    evsrc.chain_text('evsrc/1')
    || coalesce(int4send(octet_length(previous)) || previous, int4send(-1))
    || evsrc.chain_text(new.stream) || int8send(new.version) || int8send(new.position)
    || evsrc.chain_text(new.id::text) || evsrc.chain_text(new.type) || int4send(new.schema_version)
    || int8send((extract(epoch from new.recorded_at) * 1000000)::bigint)
    || evsrc.chain_text(new.command_id) || int4send(coalesce(new.command_events, -1))
    || tags || evsrc.chain_text(new.data::text) || evsrc.chain_text(new.metadata::text)
    || int4send(coalesce(new.closes, false)::integer)
  );
  return new;
end $$;

-- Switches the hash chain on, for every process that appends: each stream is chained from its next event on.
create function evsrc.begin_chain() returns void language plpgsql as $$
begin
  if not exists (select from pg_trigger where tgrelid = 'evsrc.events'::regclass and tgname = 'events_chained') then
    create trigger events_chained before insert on evsrc.events for each row execute function evsrc.chain_event();
  end if;
end $$;

-- How many events that are followed lie after a_after and up to a_to, counted up to a_limit, and when the first was recorded.
create function evsrc.count_lag(
  a_after bigint, a_to bigint, a_limit integer, f_types text[], f_tags text[], f_prefix text, f_partition integer,
  f_partitions integer
) returns table (events integer, since timestamptz) language sql stable as $$
  select count(*)::integer, min(recorded_at)
    from (
      select e.recorded_at from evsrc.log e
        where e.position > a_after and e.position <= a_to
          and evsrc.matches_filter(e.stream, e.type, e.tags, f_types, f_tags, f_prefix, f_partition, f_partitions)
        order by e.position
        limit a_limit
    ) as behind
$$;

-- The tag by which to look for the events that have all of these: the one with the fewest, as far as counted; as its hash.
create function evsrc.most_selective_tag(a_tags text[], a_after bigint) returns bigint language plpgsql volatile as $$
declare
  lead bigint;
begin
  if cardinality(a_tags) = 1 then
    return hashtextextended(a_tags[1], 0);
  end if;
  select h into lead
    from unnest(a_tags) with ordinality as u(tag, n), hashtextextended(u.tag, 0) as h
    order by (select count(*) from (select from evsrc.event_tags t where t.tag = h and t.position > a_after limit 500) as few), n
    limit 1;
  return lead;
end $$;

-- The events that match a query, after a_after, as they are visible now, beside the high-water mark of just before. What lies above the head
-- may still gain a lower neighbour, so a condition on what was read names the head and the positions seen above it.
create function evsrc.read_query(
  q_items integer, q_type_of integer[], q_type text[], q_tag_of integer[], q_tag text[], a_after bigint, a_limit integer
) returns table (head bigint, "position" bigint, stream text, version bigint, type text, schema_version integer, id uuid,
  data json, metadata json, recorded_at timestamptz, tags text[])
language plpgsql volatile
-- As for appends: planned once, for probes of indexes.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  safe bigint := evsrc.high_water_mark();
  items evsrc.query_item[] := evsrc.query_items(q_items, q_type_of, q_type, q_tag_of, q_tag);
begin
  if (select bool_and(cardinality(i.tags) > 0) from unnest(items) as i) then
    return query
      select safe, f.*
        from (
          -- No more of each item than the page can hold, in their order: a tag may have had a million events.
          select distinct on (m.position) m.*
            from unnest(items) as i
              cross join lateral (select evsrc.most_selective_tag(i.tags, a_after) as tag offset 0) as lead
              cross join lateral (
                select e.position, e.stream, e.version, e.type, e.schema_version, e.id, e.data, e.metadata, e.recorded_at, e.tags
                  from evsrc.event_tags t join evsrc.log e on e.position = t.position
                  where t.tag = lead.tag and t.position > a_after
                    and e.tags @> i.tags and (cardinality(i.types) = 0 or e.type = any (i.types))
                  order by t.position
                  limit a_limit
              ) as m
            order by m.position
            limit a_limit
        ) as f;
  else
    return query
      select safe, e.position, e.stream, e.version, e.type, e.schema_version, e.id, e.data, e.metadata, e.recorded_at, e.tags
        from evsrc.log e
        where e.position > a_after
          and exists (select 1 from unnest(items) as i
            where (cardinality(i.tags) = 0 or e.tags @> i.tags) and (cardinality(i.types) = 0 or e.type = any (i.types)))
        order by e.position
        limit a_limit;
  end if;
  if not found then
    return query select safe, null::bigint, null::text, null::bigint, null::text, null::integer, null::uuid, null::json,
      null::json, null::timestamptz, null::text[];
  end if;
end $$;

-- Moves a closed stream out of the way of appends, in one statement; readers find every event in one place or in the other. Answers how many
-- events it has moved: none when it was archived before; null when it is not closed.
create function evsrc.archive(a_stream text, a_at timestamptz) returns bigint language plpgsql volatile as $$
declare
  closed evsrc.closed_streams;
  moved bigint;
begin
  perform evsrc.require_read_committed();
  -- As an append does, so that it is not closed meanwhile, nor archived twice.
  perform pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext(a_stream));
  select * into closed from evsrc.closed_streams c where c.stream = a_stream;
  if not found then
    return null;
  end if;
  if closed.archived_at is not null then
    return 0;
  end if;
  update evsrc.closed_streams c set archived_at = a_at where c.stream = a_stream;
  with moving as (delete from evsrc.events e where e.stream = a_stream returning *)
  insert into evsrc.archived_events select * from moving;
  get diagnostics moved = row_count;
  if moved <> closed.version then
    raise exception 'stream "%" is closed at version % and has % events', a_stream, closed.version, moved using errcode = 'data_corrupted';
  end if;
  return moved;
end $$;

-- Writes events as they were in another log: with their positions, versions, ids and times. The log must end at a_after; appends wait.
--   e_*  one element an event, in the order of their positions; e_tags as for `append`, e_hash in hexadecimal digits
-- Answers an outcome:
--   'restored'
--   'elsewhere'  the log ends at the position
--   'refused'    because of the event at the position, as the detail says
create function evsrc.restore(
  a_after bigint, e_position bigint[], e_stream text[], e_version bigint[], e_id uuid[], e_type text[], e_schema integer[],
  e_command text[], e_command_events integer[], e_data text[], e_metadata text[], e_recorded_at timestamptz[], e_tags text[], e_hash text[],
  e_closes boolean[],
  out outcome text, out "position" bigint, out detail text
) language plpgsql volatile
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  perform evsrc.require_read_committed();
  -- An append that has drawn its positions inserts before this, or fails to, or inserts afterwards, which the next restore then finds.
  lock table evsrc.events in share row exclusive mode;
  position := coalesce((select max(e."position") from evsrc.log e), 0);
  if position <> a_after then
    outcome := 'elsewhere';
    return;
  end if;
  with added as materialized (
    select *, lag(p, 1, a_after) over (order by o) as p_before, lag(v) over of_stream as v_before, lag(x) over of_stream as x_before,
        row_number() over (partition by c order by o) as c_number
      from unnest(e_position, e_stream, e_version, e_command, e_closes) with ordinality as u(p, s, v, c, x, o)
      window of_stream as (partition by s order by o)
  )
  select a.p, case
      when a.p <= a.p_before then 'its position is not after ' || a.p_before
      when coalesce(a.x_before, k.closes) then 'its stream was closed before'
      when a.v <> coalesce(a.v_before, k.version, 0) + 1
        then 'its stream is at version ' || coalesce(a.v_before, k.version, 0) || ', so its version cannot be ' || a.v
      else 'its command id was used before'
    end
    into position, detail
    from added a left join lateral (
      select e.version, e.closes from evsrc.log e where a.v_before is null and e.stream = a.s order by e.version desc limit 1
    ) as k on true
    where a.p <= a.p_before or coalesce(a.x_before, k.closes) or a.v <> coalesce(a.v_before, k.version, 0) + 1
      or a.c is not null and (a.c_number > 1 or (select true from evsrc.log e where e.command_id = a.c limit 1))
    order by a.o
    limit 1;
  if detail is not null then
    outcome := 'refused';
    return;
  end if;
  outcome := 'restored';
  position := e_position[cardinality(e_position)];
  if position > evsrc.last_position_drawn() then
    perform setval('evsrc.positions', position);
  end if;
  -- For chain_event.
  perform set_config('event_store.restoring', 'on', true);
  insert into evsrc.events (position, stream, version, type, schema_version, id, command_id, command_events, data, metadata, recorded_at,
      tags, hash, closes)
    select p, s, v, t, n, id, c, k, d::json, m::json, r, tags::text[], decode(h, 'hex'), x
      from unnest(e_position, e_stream, e_version, e_type, e_schema, e_id, e_command, e_command_events, e_data, e_metadata, e_recorded_at,
        e_tags, e_hash, e_closes) as u(p, s, v, t, n, id, c, k, d, m, r, tags, h, x);
  perform set_config('event_store.restoring', 'off', true);
  insert into evsrc.closed_streams (stream, version, "position", closed_at)
    select s, v, p, r from unnest(e_stream, e_version, e_position, e_recorded_at, e_closes) as u(s, v, p, r, x) where x;
  insert into evsrc.event_tags (tag, position)
    select distinct hashtextextended(tag, 0), p
      from unnest(e_position, e_tags) as u(p, tags), unnest(tags::text[]) as tag;
end $$;

insert into evsrc.migrations (migration_id, name) values (1, '0001_event_store') on conflict do nothing;
