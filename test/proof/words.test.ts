import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')

/** Words that leave out who acts, or that read as translated. `goes on` is `continues` or `resumes`. */
const MARKERS =
  /\b(nobody|somebody|whoever|whatever|whichever|wherever|anew|besides|told|tells?|else|surely|by itself|by themselves|of itself|comes? to nothing|goes on|meanwhile)\b/gi
/** Markers in 1,000 words of comments. The figure only goes down. */
const MOST = 0.5

const COMMENTS = /\/\*[\s\S]*?\*\/|(?<![:"'`\w])\/\/[^\n]*/g

it(`comments have at most ${MOST} words in 1,000 that CONTRIBUTING.md asks to avoid`, () => {
  const files = globSync(
    '{api,bench,build,examples,infrastructure,local,ops,packages,rekognition,shared,sweeper,test,web,worker}/**/*.{ts,js,mjs}',
    { cwd: root },
  ).filter((file) => !/(^|\/)(node_modules|dist)\//.test(file))
  expect(files.length).toBeGreaterThan(300)
  let words = 0
  const found: string[] = []
  for (const file of files) {
    for (const [comment] of readFileSync(join(root, file), 'utf8').matchAll(COMMENTS)) {
      words += comment.match(/[A-Za-z']+/g)?.length ?? 0
      for (const [marker] of comment.matchAll(MARKERS)) found.push(`${file}: ${marker}`)
    }
  }
  expect(words).toBeGreaterThan(50_000)
  if (found.length > (MOST * words) / 1_000) expect(found).toEqual([])
})
