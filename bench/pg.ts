/** What is used of the package `pg`. */
export interface Queries {
  readonly query: (
    query: string | { readonly name: string; readonly text: string; readonly values: ReadonlyArray<unknown> }
  ) => Promise<{ readonly rows: ReadonlyArray<Readonly<Record<string, unknown>>> }>
  readonly end: () => Promise<void>
}

export interface Pg {
  readonly Pool: new(options: { readonly connectionString: string; readonly max: number }) => Queries
  readonly Client: new(
    options: { readonly connectionString: string }
  ) => Queries & { readonly connect: () => Promise<void> }
}
