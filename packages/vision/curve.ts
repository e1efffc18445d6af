/** From a model's score to a confidence in per cent: rising points. */
export type Curve = readonly (readonly [score: number, confidence: number])[]

/** Read off the line between two points; beyond the last one it stays. */
export function interpolate(curve: Curve, score: number): number {
  const above = curve.findIndex(([from]) => from >= score)
  if (above < 0) return curve.at(-1)?.[1] ?? 0
  const [toScore, toConfidence] = curve[above] ?? [1, 0]
  const [fromScore, fromConfidence] = curve[above - 1] ?? [0, 0]
  // The first point may be at a score of 0.
  if (toScore === fromScore) return toConfidence
  return fromConfidence + ((score - fromScore) / (toScore - fromScore)) * (toConfidence - fromConfidence)
}
