import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { ROUTES } from '../../api/app.ts'
import { openApi } from '../../api/openapi.ts'
import { ANALYSES } from '../../shared/image.ts'
import { skipped, without } from '../tools.ts'

type Json = Record<string, unknown>
interface Operation {
  tags: string[]
  operationId: string
  summary: string
  description: string
}

const documentOf = (auth: 'none' | 'jwt' | 'iam'): Json =>
  openApi(
    {
      ...{ auth, analyses: [...ANALYSES], faces: 'always', heic: true },
      ...{ maxImageBytes: 4_500_000, maxUploadBytes: 50_000_000, maxWaitSeconds: 20 },
    },
    ROUTES,
  )

const AUTHS = ['none', 'jwt', 'iam'] as const

/** The rules of Redocly and Spectral that this document has broken. Their own programs are too large for `npm ci`. */
describe.each(AUTHS)('the OpenAPI document with AUTH=%s', (auth) => {
  const document = documentOf(auth)
  const operations = Object.values(document['paths'] as Record<string, Record<string, Operation>>).flatMap(
    ({ parameters: _, ...item }) => Object.values(item),
  )
  const tags = document['tags'] as { name: string; description: string }[]

  it('names whom to contact', () => {
    expect(document['info']).toMatchObject({ contact: { name: expect.stringMatching(/\S/) } })
  })

  it('has a summary, a description and a name for each operation', () => {
    expect(operations.length).toBe(ROUTES.length)
    const nameless = operations.filter(
      ({ summary, description, operationId }) => !summary || !description || !operationId,
    )
    expect(nameless).toEqual([])
    expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length)
  })

  it('describes each tag, and uses no other', () => {
    expect(tags.filter(({ description }) => !description)).toEqual([])
    const used = new Set(operations.flatMap((operation) => operation.tags))
    expect([...used].sort()).toEqual(tags.map(({ name }) => name).sort())
  })

  it('refers to each of its components', () => {
    const text = JSON.stringify(document)
    const { securitySchemes, ...components } = document['components'] as Record<string, Json>
    const all = Object.entries(components).flatMap(([kind, parts]) =>
      Object.keys(parts).map((name) => `#/components/${kind}/${name}`),
    )
    expect(all.length).toBeGreaterThan(20)
    expect(all.filter((path) => !text.includes(`"${path}"`))).toEqual([])
    expect(Object.keys(securitySchemes ?? {})).toEqual(auth === 'none' ? [] : [auth])
  })

  it('leaves no setting of the deployment in braces', () => {
    expect(JSON.stringify(document).match(/\{(formats|max\w+|analyses|heic|auth)\}/g)).toBeNull()
  })
})

/** `npm install --prefix <folder> @redocly/cli @stoplight/spectral-cli`, and its node_modules/.bin on the PATH. */
const lacking = without('redocly', 'spectral')

describe.skipIf(lacking.length > 0)(`a linter${skipped(lacking)}`, () => {
  /** In a folder of its own, where neither program finds settings. */
  async function lint(auth: (typeof AUTHS)[number], program: string, ...args: string[]): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-lint-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    writeFileSync(join(folder, 'openapi.json'), JSON.stringify(documentOf(auth)))
    writeFileSync(join(folder, 'spectral.yaml'), 'extends: ["spectral:oas"]')
    // They need the Node that runs this, and must send no telemetry.
    const PATH = [dirname(process.execPath), process.env['PATH']].join(delimiter)
    const env = { ...process.env, PATH, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' }
    const run = promisify(execFile)(program, args, { cwd: folder, env })
    // Both end with 1 where they find something.
    return (await run.catch((error: { stdout: string }) => error)).stdout
  }

  it.each(AUTHS)('of Redocly finds nothing, with AUTH=%s', async (auth) => {
    const { totals } = JSON.parse(await lint(auth, 'redocly', 'lint', 'openapi.json', '--format=json'))
    expect(totals).toMatchObject({ errors: 0, warnings: 0 })
  })

  it.each(AUTHS)('of Spectral finds nothing, with AUTH=%s', async (auth) => {
    const args = ['lint', 'openapi.json', '--ruleset', 'spectral.yaml', '--format', 'json', '--quiet']
    expect(JSON.parse(await lint(auth, 'spectral', ...args))).toEqual([])
  })
})
