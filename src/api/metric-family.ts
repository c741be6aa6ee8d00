/** One metric with its samples, before it is Prometheus text. */

export interface MetricFamily {
  readonly name: string
  readonly type: 'counter' | 'gauge'
  readonly help: string
  readonly samples: readonly (readonly [Readonly<Record<string, string>>, number])[]
}
