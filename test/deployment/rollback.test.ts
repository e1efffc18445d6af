import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

// What the script asks of the AWS CLI, by files: what is live, and the versions that there are. MiniStack has the rest of it
// in `npm run deploy-check`.
const AWS = `#!/bin/sh
set -eu
case "$2" in
  get-alias) cat "$FOLDER/$4" ;;
  list-versions-by-function) cat "$FOLDER/versions" ;;
  update-alias)
    [ "$4" != "\${REFUSED:-}" ] || { echo TooManyRequestsException >&2; exit 254; }
    printf %s "$8" > "$FOLDER/$4"
    echo "$4 $8 $9 \${10}" >> "$FOLDER/updates" ;;
  describe-alarms)
    echo "$*" >> "$FOLDER/asked"
    [ "$(wc -l < "$FOLDER/asked")" -lt "\${LATER:-1}" ] && exit
    for name in $(cat "$FOLDER/ringing"); do case " $* " in *" $name "*) printf %s "$name" ;; esac; done ;;
esac
`
const VERSIONS =
  '$LATEST\tA request. Release cc.\n1\tA request. Release aa.\n10\tA request. Release cc.\n9\tA request. Release bb.\n'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rollback-'))
  writeFileSync(join(folder, 'aws'), AWS)
  chmodSync(join(folder, 'aws'), 0o755)
  writeFileSync(join(folder, 'versions'), VERSIONS)
  writeFileSync(join(folder, 'updates'), '')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const FUNCTIONS = ['photos-api', 'photos-worker', 'photos-sweeper']
const live = (...versions: number[]) => {
  for (const [index, version] of versions.entries()) {
    writeFileSync(join(folder, FUNCTIONS[index] ?? ''), String(version))
  }
}
const isLive = () => FUNCTIONS.map((name) => Number(readFileSync(join(folder, name), 'utf8')))
/** @param settings of the script and of the AWS CLI above */
function run(script: string, args: string[], settings: Record<string, string>) {
  const PATH = [folder, process.env['PATH']].join(delimiter)
  const env = { ...process.env, PATH, FOLDER: folder, ...settings }
  const file = join(import.meta.dirname, '../..', script)
  const { status, stdout, stderr } = spawnSync('sh', [file, 'photos', ...args], { env, encoding: 'utf8' })
  return { status, stdout, stderr }
}
const rollBack = (refused = '') => run('infrastructure/rollback.sh', [], { REFUSED: refused })
const updates = () => readFileSync(join(folder, 'updates'), 'utf8')

it('the way back puts all functions on the version before, and none on a canary of the newest', () => {
  live(10, 10, 10)
  expect(rollBack()).toEqual({
    ...{ status: 0, stderr: '' },
    stdout: FUNCTIONS.map((name) => `${name}: 10 -> 9\n`).join(''),
  })
  expect(updates()).toBe(
    FUNCTIONS.map((name) => `${name} 9 --routing-config AdditionalVersionWeights={}\n`).join(''),
  )
})

it('the way back that broke off is gone to its end by a second run, and no further', () => {
  live(10, 10, 10)
  expect(rollBack('photos-worker').status).not.toBe(0)
  expect(isLive()).toEqual([9, 10, 10])
  expect(rollBack().stdout).toContain('photos-api: 9 stays')
  expect(isLive()).toEqual([9, 9, 9])
})

it('the way back from a canary leaves the API on the release that worker and sweeper go back to', () => {
  live(9, 10, 10)
  expect(rollBack().status).toBe(0)
  expect(isLive()).toEqual([9, 9, 9])
  expect(updates()).toContain('photos-api 9 --routing-config')
})

it('there is no way back from a first release, nor where versions do not tell the release before', () => {
  live(10, 10, 1)
  expect(rollBack()).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('photos-sweeper has no version before 1'),
  })
  writeFileSync(join(folder, 'versions'), '1\tRelease aa.\n2\tRelease bb.\n3\tRelease aa.\n')
  live(2, 3, 3)
  expect(rollBack()).toMatchObject({ status: 1, stderr: expect.stringContaining('do not say which release') })
  expect(updates()).toBe('')
})

describe('a canary', () => {
  const alarms = Object.keys(
    JSON.parse(
      readFileSync(
        join(import.meta.dirname, '../../infrastructure/modules/image-analyzer/alarms.json'),
        'utf8',
      ),
    ),
  ).map((name) => `photos-${name}`)
  function tryOut(ringing: string, later = '1') {
    writeFileSync(join(folder, 'ringing'), ringing)
    writeFileSync(join(folder, 'versions'), '$LATEST\t1\t9\t10\n')
    const settings = { CANARY_PAUSE: '0', LATER: later }
    const { status, stderr } = run('examples/pipeline/canary.sh', ['5', '2'], settings)
    return { status, stderr }
  }
  const triedAndTakenBack = ['10=0.05', '']
    .map((share) => `photos-api AdditionalVersionWeights={${share}} --query FunctionVersion\n`)
    .join('')
  it('asks for each alarm that there can be, and leaves the API as it was', () => {
    live(9, 10, 10)
    expect(tryOut('photos-eu-api-5xx')).toEqual({ status: 0, stderr: '' })
    const [asked = ''] = readFileSync(join(folder, 'asked'), 'utf8').split('\n')
    expect(asked.split(' ').filter((word) => word.startsWith('photos-'))).toEqual(alarms)
    expect(updates()).toBe(triedAndTakenBack)
  })
  it('is over when one of them begins to ring', () => {
    live(9, 10, 10)
    const stderr = 'back to version 9, because of photos-api-errors\n'
    expect(tryOut('photos-api-errors', '3')).toEqual({ status: 1, stderr })
    expect(updates()).toBe(triedAndTakenBack)
  })
  it('is not begun while one of them rings', () => {
    live(9, 10, 10)
    expect(tryOut('photos-api-5xx')).toEqual({
      status: 1,
      stderr: 'Nothing is tried while an alarm rings: photos-api-5xx\n',
    })
    expect(updates()).not.toContain('10=')
  })
})
