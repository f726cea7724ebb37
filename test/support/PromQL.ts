/** Reads the metrics and labels that an expression of Prometheus names. It knows the part of the language that docs/ uses, and rejects the rest. */

export interface Selector {
  readonly metric: string
  readonly labels: ReadonlyArray<string>
}

export interface Expression {
  readonly selectors: ReadonlyArray<Selector>
  /** The labels of `by` and `without`. */
  readonly groupings: ReadonlyArray<string>
}

const functions: ReadonlySet<string> = new Set(["sum", "max", "min", "rate", "increase", "histogram_quantile"])
const operators: ReadonlySet<string> = new Set(["and", "or", "unless"])

const token =
  /\s+|"[^"]*"|\[(?:\d+[smhd]|\$__rate_interval)\]|\d+(?:\.\d+)?|[a-zA-Z_:][\w:]*|=~|!~|!=|==|>=|<=|[-+*/<>=(){},]/gy

const tokensOf = (text: string): ReadonlyArray<string> => {
  const tokens: Array<string> = []
  let end = 0
  for (const { 0: found, index } of text.matchAll(token)) {
    if (index !== end) break
    end += found.length
    if (found.trim() !== "") tokens.push(found)
  }
  if (end !== text.length) throw new Error(`unknown at ${end}: ${text}`)
  return tokens
}

export const parse = (text: string): Expression => {
  const tokens = tokensOf(text)
  const selectors: Array<Selector> = []
  const groupings: Array<string> = []
  let at = 0
  const fail = (wanted: string): never => {
    throw new Error(`${wanted} expected instead of "${tokens[at] ?? "the end"}" in ${text}`)
  }
  const take = (wanted: string): void => {
    if (tokens[at++] !== wanted) {
      at--
      fail(`"${wanted}"`)
    }
  }
  const is = (...wanted: ReadonlyArray<string>) => wanted.includes(tokens[at] ?? "")
  const list = (end: string, item: () => void): void => {
    while (!is(end)) {
      item()
      if (!is(end)) take(",")
    }
    take(end)
  }
  const name = (): string => /^[a-zA-Z_]\w*$/.test(tokens[at] ?? "") ? tokens[at++]! : fail("a name")
  const grouping = (): void => {
    if (!is("by", "without")) return
    at++
    take("(")
    list(")", () => void groupings.push(name()))
  }
  const selector = (metric: string): void => {
    const labels: Array<string> = []
    if (is("{")) {
      at++
      list("}", () => {
        labels.push(name())
        if (!is("=", "!=", "=~", "!~")) fail("a comparison")
        at++
        if (!/^".*"$/.test(tokens[at++] ?? "")) fail("a string")
      })
    }
    if (tokens[at]?.startsWith("[") === true) at++
    selectors.push({ metric, labels })
  }
  const operand = (): void => {
    if (is("(")) {
      at++
      expression()
      return take(")")
    }
    if (/^\d/.test(tokens[at] ?? "")) return void at++
    const first = name()
    if (!functions.has(first)) return selector(first)
    grouping()
    take("(")
    list(")", expression)
    grouping()
  }
  const expression = (): void => {
    operand()
    while (is("+", "-", "*", "/", ">", "<", ">=", "<=", "==", "!=", ...operators)) {
      at++
      operand()
    }
  }
  expression()
  if (at < tokens.length) fail("the end")
  return { selectors, groupings }
}

/** The labels of each series name in the text format of Prometheus. */
export const seriesOf = (text: string): ReadonlyMap<string, ReadonlySet<string>> => {
  const series = new Map<string, Set<string>>()
  for (const line of text.split("\n")) {
    const [, metric, labels = ""] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? /.exec(line) ?? []
    if (metric === undefined) continue
    const found = series.get(metric) ?? new Set<string>()
    for (const [, label] of labels.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)) found.add(label!)
    series.set(metric, found)
  }
  return series
}
