import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { S3Client } from '@aws-sdk/client-s3'
import * as z from 'zod'
import { readFromS3, startRekognition } from '../rekognition/service.ts'
import { s3Options } from '../shared/aws.ts'
import { buildAll } from './build.ts'
import { oneOf, readOptions, runCommand, WrongUsage } from './command.ts'
import { sendPhotos, usePhotos } from './deployed-photos.ts'
import {
  EMULATOR_NAMES,
  EMULATORS,
  type Emulator,
  type EmulatorName,
  KINDS,
  kindsThatName,
  recognise,
  versionOf,
} from './emulators.ts'
import { noteSeen, seenOf } from './emulators-seen.ts'
import { writeFollowing } from './inputs.ts'
import { type Arch, LIBCS, type Libc } from './sharp.ts'
import { type Check, type Deployed, demand, Steps, TARGET } from './steps.ts'
import { type Copy, copyModule, missing, onPath, planAgain } from './terraform.ts'

const USAGE = `npm run deploy-check -- --endpoint http://127.0.0.1:4566 [options]

Builds the zips, deploys them to an emulator of AWS by Terraform, has photos of every format and body kind analysed
through the gateway, sees their events at a subscriber, plans again, deploys a changed build, goes back to the one
before, and destroys everything. It works on a copy, under
a name of its own: nothing that is deployed there already is touched.

  --emulator     ${EMULATOR_NAMES.join(', ')}; recognised by itself
  --libc         ${LIBCS.join(' or ')}, which the functions run on; glibc. (MiniStack's usual container has musl.)
  --note         writes what was seen into infrastructure/emulators/seen.json, and the table of infrastructure/README.md
  --version      of the emulator, for --note, where the emulator does not say it
  --rekognition  where the functions reach a Rekognition, such as http://rekognition:4567 of docker-compose.yml;
                 by default a stand-in that is started for the check, on this machine only
  -h, --help`

const outputsSchema = z.object({
  api_url: z.object({ value: z.url() }),
  subscriber_queue_url: z.object({ value: z.url() }),
  versions: z.object({ value: z.record(z.string(), z.string()) }),
})

/** @throws Error with what Terraform says */
async function run(copy: Copy, env: Record<string, string>, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await copy.terraform(args, env)
  if (status === 0) return stdout
  throw new Error(`terraform ${args[0]} failed: ${stderr.trim()}`)
}

async function apply({ endpoint, name, variables, env }: Check, copy: Copy): Promise<Deployed> {
  await run(copy, env, 'apply', '-auto-approve', '-input=false', ...variables)
  const named = await kindsThatName(endpoint, name)
  const unnamed = KINDS.filter((kind) => !named.includes(kind))
  // What is not found now would not be found after destroy either.
  if (unnamed.length > 0) throw new Error(`the emulator lists no ${unnamed.join(', ')} of ${name}`)
  const outputs = outputsSchema.parse(JSON.parse(await run(copy, env, 'output', '-json')))
  return {
    apiUrl: outputs.api_url.value,
    subscriberQueueUrl: outputs.subscriber_queue_url.value,
    versions: outputs.versions.value,
  }
}

/** @returns what it has looked at and, by reason, what is known to change */
async function demandEmptyPlan({ variables, env, emulator }: Check, copy: Copy): Promise<string> {
  const { resources, changes } = await planAgain(copy, variables, env)
  const known = new Map<string, string[]>()
  const unknown: string[] = []
  for (const { name, sameJson } of changes) {
    const { reason } = emulator.drift.find((d) => d.change.test(name) && d.sameJson === sameJson) ?? {}
    if (reason === undefined) unknown.push(name)
    else known.set(reason, [...(known.get(reason) ?? []), name])
  }
  if (unknown.length > 0) throw new Error(`it would change ${unknown.join(', ')}`)
  const exceptions = [...known].map(([reason, names]) => `, but for ${names.join(', ')}: ${reason}`)
  return `nothing to change in ${resources} resources${exceptions.join('')}`
}

/** Deploys other zips with the same in them, and demands that the next version of each function is called. */
async function upgrade(check: Check, copy: Copy, zips: { name: string; zip: Uint8Array }[]): Promise<void> {
  for (const { name, zip } of zips) {
    // A zip ends with the length of its comment, and the comment (APPNOTE, 4.3.16).
    const comment = Buffer.from('changed')
    const length = Buffer.from([comment.length, 0])
    const changed = Buffer.concat([zip.subarray(0, -length.length), length, comment])
    await writeFile(join(copy.folder, '../dist', `${name}.zip`), changed)
  }
  const { apiUrl, versions } = await apply(check, copy)
  demand('each version that is called', Object.values(versions).join(), '2,2,2')
  await demandPhoto(check, apiUrl)
}

/** Goes back by the command of the runbook. */
async function rollBack(check: Check, copy: Copy, apiUrl: string): Promise<void> {
  const script = join(copy.folder, 'rollback.sh')
  const { stdout } = await promisify(execFile)('sh', [script, check.name], {
    env: { ...process.env, ...check.env, AWS_DEFAULT_REGION: TARGET.region },
  })
  const expected = ['api', 'worker', 'sweeper'].map((name) => `${check.name}-${name}: 2 -> 1\n`)
  demand('what rollback.sh says', stdout, expected.join(''))
  await demandPhoto(check, apiUrl)
}

async function demandPhoto(check: Check, apiUrl: string): Promise<void> {
  if (check.emulator.runsNothing === undefined) await sendPhotos(check, apiUrl, 'jpeg')
}

async function destroy({ endpoint, name, variables, env }: Check, copy: Copy): Promise<void> {
  await run(copy, env, 'destroy', '-auto-approve', '-input=false', ...variables)
  const left = await kindsThatName(endpoint, name)
  if (left.length > 0) throw new Error(`${left.join(', ')} of ${name} are still there`)
}

/** Deploys, uses what is deployed, and changes it. What depends on a step that has failed is left out. */
async function useDeployed(
  check: Check,
  copy: Copy,
  built: { name: string; zip: Uint8Array }[],
): Promise<void> {
  const { steps, signal } = check
  const deployed = await steps.run(
    'apply',
    () => apply(check, copy),
    ({ apiUrl }) => apiUrl,
  )
  if (deployed === undefined || signal.aborted) return
  await usePhotos(check, deployed)
  if (signal.aborted) return
  await steps.run(
    'second plan',
    () => demandEmptyPlan(check, copy),
    (found) => found,
  )
  if (signal.aborted) return
  const upgraded = await steps.run(
    'upgrade',
    async () => {
      await upgrade(check, copy, built)
      return true
    },
    () => 'a changed build is called by each alias',
  )
  if (upgraded && onPath('aws') === undefined) steps.skip('rollback', 'the AWS CLI is missing')
  else if (upgraded) {
    await steps.run(
      'rollback',
      () => rollBack(check, copy, deployed.apiUrl),
      () => 'each alias calls the version before',
    )
  }
}

async function deployCheck(
  given: { endpoint: string; among: readonly EmulatorName[]; libc: Libc; rekognition: string | undefined },
  steps: Steps,
  signal: AbortSignal,
): Promise<EmulatorName | undefined> {
  const { endpoint, among, libc } = given
  const arch: Arch = process.arch === 'arm64' ? 'arm64' : 'x64'

  const emulatorName = await steps.run(
    'emulator',
    async () => {
      const found = await recognise(endpoint, among)
      const lacking = missing()
      if (lacking.length > 0) throw new Error(`not on this machine: ${lacking.join(', ')}`)
      return found
    },
    (found) => `${EMULATORS[found].title} at ${endpoint}`,
  )
  if (emulatorName === undefined) return undefined
  const built = await steps.run(
    'build',
    () => buildAll(arch, () => {}, libc),
    (zips) => `${zips.map((zip) => `${zip.name}.zip`).join(', ')} for ${arch} and ${libc}`,
  )
  if (built === undefined) return emulatorName
  const copy = await steps.run(
    'init',
    () => copyModule('infrastructure', Object.fromEntries(built.map(({ name, zip }) => [name, zip]))),
    () => 'a copy of infrastructure/, with a state of its own',
  )
  if (copy === undefined) return emulatorName

  const emulator: Emulator = EMULATORS[emulatorName]
  const runsBeside = emulator.beside && emulator.runsNothing === undefined
  const s3 = new S3Client(s3Options({ ...TARGET, endpoint }))
  const readObject = (bucket: string, key: string) => readFromS3(s3, bucket, key)
  const standIn =
    runsBeside && given.rekognition === undefined
      ? await startRekognition({ port: 0, rekognition: {}, readObject })
      : undefined
  const rekognition = given.rekognition ?? standIn?.endpoint
  // No other deployment has this name, and listings can be searched for it.
  const name = `check-${randomBytes(4).toString('hex')}`
  const check: Check = {
    endpoint,
    emulator,
    name,
    steps,
    signal,
    variables: [
      `-var-file=emulators/${emulator.like ?? emulatorName}.tfvars`,
      `-var=name=${name}`,
      `-var=architecture=${arch === 'x64' ? 'x86_64' : arch}`,
      '-var=auth=none',
      '-var=subscriber_queue=true',
      ...(runsBeside ? [`-var=emulator_endpoint=${endpoint}`] : []),
      ...(rekognition === undefined ? [] : [`-var=emulator_rekognition=${rekognition}`]),
    ],
    env: {
      AWS_ENDPOINT_URL: endpoint,
      AWS_ACCESS_KEY_ID: TARGET.credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: TARGET.credentials.secretAccessKey,
      AWS_REGION: TARGET.region,
    },
  }
  try {
    await useDeployed(check, copy, built)
    await steps.run(
      'destroy',
      () => destroy(check, copy),
      () => `nothing is left among ${KINDS.length} kinds of resources`,
    )
  } finally {
    copy.remove()
    await standIn?.stop()
    s3.destroy()
  }
  return emulatorName
}

async function main(): Promise<void> {
  const {
    endpoint: address,
    emulator,
    libc,
    rekognition,
    note,
    version,
  } = readOptions('npm run deploy-check', USAGE, {
    options: {
      endpoint: { type: 'string' },
      emulator: { type: 'string' },
      libc: { type: 'string', default: 'glibc' },
      rekognition: { type: 'string' },
      note: { type: 'boolean' },
      version: { type: 'string' },
    },
  }).values
  const print = (text: string): boolean => process.stdout.write(text)
  if (address === undefined) throw new WrongUsage(USAGE)
  if (!URL.canParse(address))
    throw new WrongUsage(`--endpoint must be an address such as http://127.0.0.1:4566, not ${address}.`)
  const endpoint = new URL(address).origin
  const given = {
    endpoint,
    libc: oneOf('--libc', LIBCS, libc),
    rekognition,
    among: emulator === undefined ? EMULATOR_NAMES : [oneOf('--emulator', EMULATOR_NAMES, emulator)],
  }
  const stopping = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (!stopping.signal.aborted) print('interrupted; what has been made is destroyed first … ')
      stopping.abort()
    })
  }
  const steps = new Steps(print)
  const found = await deployCheck(given, steps, stopping.signal)
  if (note && found !== undefined && !stopping.signal.aborted) {
    const today = new Date().toISOString().slice(0, 10)
    noteSeen(found, seenOf(today, version ?? (await versionOf(endpoint, found)), steps.ended))
    writeFollowing()
  }
  print(`${steps.summary()}\n`)
  process.exitCode = steps.hasFailed || stopping.signal.aborted ? 1 : 0
}

if (process.argv[1] === import.meta.filename) await runCommand(main)
