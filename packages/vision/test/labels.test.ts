import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { classOf, kinds } from '../taxonomy.ts'

const KINDS = kinds().map(({ name }) => name)

interface Labelled {
  sha256: string
  from: string
  path: string
  kinds: Record<string, number>
  unclear?: string[]
  faces?: { box: number[]; mouth?: string }[]
  unclearFaces?: number[][]
}

interface Judged extends Pick<Labelled, 'sha256' | 'from' | 'path'> {
  right: string[]
  wrong: string[]
  unclear: string[]
}

const linesOf = <T>(file: string): T[] =>
  readFileSync(new URL(`../quality/${file}`, import.meta.url), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
const judged = linesOf<Judged>('whole.jsonl')
const labelled = linesOf<Labelled>('labels.jsonl')

it.each([{ pictures: labelled }, { pictures: judged }])(
  'each picture is one that can be found, once',
  ({ pictures }) => {
    expect(new Set(pictures.map(({ sha256 }) => sha256)).size).toBe(pictures.length)
    for (const { sha256, from, path } of pictures) {
      expect(sha256).toMatch(/^[0-9a-f]{64}$/)
      expect(from).toMatch(/^[\w.-]+\/[\w.-]+$/)
      expect(path).not.toBe('')
    }
  },
)

it('labels name kinds of the detector, each either plain or unclear', () => {
  for (const { path, kinds, unclear = [] } of labelled) {
    const named = [...Object.keys(kinds), ...unclear]
    expect({ path, strange: named.filter((kind) => !KINDS.includes(kind)) }).toEqual({ path, strange: [] })
    expect({ path, named: new Set(named).size }).toEqual({ path, named: named.length })
  }
})

it('faces that are labelled lie in their picture', () => {
  for (const { faces = [], unclearFaces = [] } of labelled)
    for (const [left = 0, top = 0, right = 0, bottom = 0] of [
      ...faces.map(({ box }) => box),
      ...unclearFaces,
    ]) {
      expect(Math.min(left, top)).toBeGreaterThanOrEqual(0)
      expect(Math.max(right, bottom)).toBeLessThanOrEqual(1)
      expect(right).toBeGreaterThan(left)
      expect(bottom).toBeGreaterThan(top)
    }
  const mouths = labelled.flatMap(({ faces = [] }) => faces.flatMap(({ mouth }) => mouth ?? []))
  expect(new Set(mouths)).toEqual(new Set(['open', 'closed']))
})

it('names of whole pictures that are judged are in the taxonomy, each once in a picture', () => {
  for (const { path, right, wrong, unclear } of judged) {
    const names = [...right, ...wrong, ...unclear]
    for (const name of names) expect(classOf(name).name, path).toBe(name)
    expect(new Set(names).size, path).toBe(names.length)
  }
})
