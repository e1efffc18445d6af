/** What several benchmarks do with their measurements. */
export const quantile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN
export const median = (values: readonly number[]): number => quantile(values, 0.5)
export const round = (value: number): number => Math.round(value * 100) / 100
/** The least and the most of the middle half. */
export const spread = (values: readonly number[]): string =>
  [0.25, 0.75].map((share) => round(quantile(values, share))).join(' to ')
