-- Read models: documents by projection and key, and how far each projection has come.
create table evsrc.documents (
  projection text collate "C" not null,
  key text collate "C" not null,
  -- json for the same reason as events: every document that JSON can hold.
  document json not null,
  -- The indexed fields as <name>=<JSON>, to filter by.
  indexed text[] collate "C" not null default '{}',
  primary key (projection, key)
);

create index documents_indexed on evsrc.documents using gin (indexed) where indexed <> '{}';

create table evsrc.checkpoints (
  projection text collate "C" primary key,
  position bigint not null default 0,
  -- Grows with every change of owner; a write under an older epoch is refused.
  epoch bigint not null default 0,
  owner text,
  leased_until timestamptz,
  updated_at timestamptz not null default clock_timestamp()
);

-- Makes a_owner the owner of a projection for a_lease, if it is free, expired, or a_owner's already. Answers the new epoch and
-- the checkpoint, or no row.
create function evsrc.acquire_projection(a_projection text, a_owner text, a_lease interval)
returns table (epoch bigint, "position" bigint) language sql volatile as $$
  insert into evsrc.checkpoints as c (projection, epoch, owner, leased_until)
    values (a_projection, 1, a_owner, clock_timestamp() + a_lease)
    on conflict (projection) do update
      set epoch = c.epoch + 1, owner = a_owner, leased_until = clock_timestamp() + a_lease, updated_at = clock_timestamp()
      where c.leased_until is null or c.leased_until < clock_timestamp() or c.owner = a_owner
    returning c.epoch, c.position
$$;

-- Writes and removes documents.
--   put_indexed  for each put document its entries, joined by the unit separator (U+001F)
create function evsrc.write_documents(
  a_projection text, put_key text[], put_document text[], put_indexed text[], removed_key text[]
) returns void language plpgsql volatile as $$
begin
  delete from evsrc.documents where projection = a_projection and key = any (removed_key);
  insert into evsrc.documents (projection, key, document, indexed)
    select a_projection, k, d::json, coalesce(string_to_array(nullif(i, ''), E'\x1f'), '{}')
      from unnest(put_key, put_document, put_indexed) as u(k, d, i)
      order by k
    on conflict (projection, key) do update set document = excluded.document, indexed = excluded.indexed;
end $$;

-- Moves a checkpoint from a_from to a_to and writes the documents of the events between, if a_epoch is still the owner's.
-- Answers whether it was; otherwise nothing is written.
create function evsrc.advance_projection(
  a_projection text, a_epoch bigint, a_from bigint, a_to bigint, a_lease interval,
  put_key text[], put_document text[], put_indexed text[], removed_key text[]
) returns boolean language plpgsql volatile as $$
begin
  update evsrc.checkpoints
    set position = a_to, leased_until = clock_timestamp() + a_lease, updated_at = clock_timestamp()
    where projection = a_projection and epoch = a_epoch and position = a_from;
  if not found then
    return false;
  end if;
  perform evsrc.write_documents(a_projection, put_key, put_document, put_indexed, removed_key);
  return true;
end $$;

-- Reads documents to change them in this transaction: whoever else changes them waits until it has ended.
create function evsrc.lock_documents(a_projection text, a_keys text[])
returns table (key text, document json) language plpgsql volatile as $$
#variable_conflict use_column
begin
  perform pg_advisory_xact_lock('evsrc.documents'::regclass::oid::integer, h)
    from (select distinct hashtext(a_projection || E'\x1f' || k) as h from unnest(a_keys) k order by h) as sorted;
  return query select d.key, d.document from evsrc.documents d where d.projection = a_projection and d.key = any (a_keys);
end $$;

insert into evsrc.migrations (migration_id, name) values (2, '0002_projections') on conflict do nothing;
