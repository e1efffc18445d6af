/** Matrices of three rows, and what the colours of a profile need of their algebra. */
export type Triple = readonly [number, number, number]
export type Matrix = readonly [Triple, Triple, Triple]

const dot = (a: Triple, b: Triple): number => a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
export const times = ([a, b, c]: Matrix, vector: Triple): Triple => [
  dot(a, vector),
  dot(b, vector),
  dot(c, vector),
]
export const diagonal = ([a, b, c]: Triple): Matrix => [
  [a, 0, 0],
  [0, b, 0],
  [0, 0, c],
]
const transposed = ([a, b, c]: Matrix): Matrix => [
  [a[0], b[0], c[0]],
  [a[1], b[1], c[1]],
  [a[2], b[2], c[2]],
]
export function product([a, b, c]: Matrix, right: Matrix): Matrix {
  const columns = transposed(right)
  return [times(columns, a), times(columns, b), times(columns, c)]
}
export function inverse([a, b, c]: Matrix): Matrix | undefined {
  const cross = (p: Triple, q: Triple): Triple => [
    (p[1] * q[2] - p[2] * q[1]) / determinant,
    (p[2] * q[0] - p[0] * q[2]) / determinant,
    (p[0] * q[1] - p[1] * q[0]) / determinant,
  ]
  let determinant = 1
  determinant = dot(a, cross(b, c))
  return Math.abs(determinant) < 1e-6 ? undefined : transposed([cross(b, c), cross(c, a), cross(a, b)])
}
