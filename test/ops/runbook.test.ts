import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { delimiter, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { DynamoDBDocumentClient, GetCommand, PutCommand } from '@aws-sdk/lib-dynamodb'
import { describe, expect, it, onTestFinished } from 'vitest'
import { onPath } from '../../build/terraform.ts'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { awsCli } from '../aws-cli.ts'
import { signed, until } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'
import { newFolder, post, root, start } from '../started.ts'
import { startQuietly } from '../system.ts'
import { NODE, skipped, without } from '../tools.ts'

/** docs/runbook.md does what it says: each of its commands is run in the trouble that it is for. */

const runbook = readFileSync(join(root, 'docs/runbook.md'), 'utf8')
interface Block {
  heading: string
  onAws: boolean
  script: string
}
const BLOCKS: Block[] = runbook.split(/^## /m).flatMap((section) => {
  const heading = section.slice(0, section.indexOf('\n'))
  return [...section.matchAll(/^```sh( on AWS)?\n([\s\S]*?)^```/gm)].map(([, onAws, script = '']) => ({
    ...{ heading, onAws: onAws !== undefined, script },
  }))
})
const [prelude, ...commands] = BLOCKS
const of = (heading: string, onAws = false): string[] =>
  commands.filter((block) => block.heading === heading && block.onAws === onAws).map(({ script }) => script)

/** A Rekognition that is well, that fails, or that refuses every image. */
async function startFakeRekognition() {
  const fake = { mood: 'well' as 'well' | 'fails' | 'refuses', url: '', stop: async () => {} }
  const server = createServer((request, response) => {
    request.resume()
    const answers = {
      well: [200, { Labels: [], FaceDetails: [], LabelModelVersion: '3.0' }],
      fails: [500, { __type: 'InternalServerError', message: 'no' }],
      refuses: [400, { __type: 'InvalidImageFormatException', message: 'no' }],
    } as const
    request.on('end', () => {
      const [status, body] = answers[fake.mood]
      response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(body))
    })
  })
  fake.url = `http://127.0.0.1:${await listen(server, 0)}`
  fake.stop = async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
  return fake
}

/** Programs by the names that the runbook calls, in a folder that comes first in PATH. */
function programs(scripts: Record<string, string>): string {
  const folder = newFolder()
  for (const [name, script] of Object.entries(scripts)) {
    writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`)
    chmodSync(join(folder, name), 0o755)
  }
  return `${folder}${delimiter}${process.env['PATH']}`
}

async function run(script: string, env: Record<string, string>): Promise<string> {
  const child = spawn('bash', ['-euo', 'pipefail', '-c', `${prelude?.script}${script}`], {
    cwd: newFolder(),
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  expect(code, `${script}\n${out}${err}`).toBe(0)
  return out
}

/** What a person with credentials has in the environment. */
const AWS = {
  ...{ AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test', AWS_REGION: 'us-east-1' },
  ...{ AWS_DEFAULT_REGION: 'us-east-1', AWS_PAGER: '', AWS_MAX_ATTEMPTS: '1' },
}
const lacking = without('aws', 'bash')

describe.skipIf(lacking.length > 0)(`the runbook${skipped(lacking)}`, () => {
  const aws = awsCli()

  it('mends each trouble by its commands, in their order', async () => {
    const rekognition = await startFakeRekognition()
    onTestFinished(rekognition.stop)
    const DATA_DIR = newFolder()
    const running = await start({
      DATA_DIR,
      MAX_ATTEMPTS: '1',
      MONTHLY_BUDGET_USD: '1',
      AWS_ENDPOINT_URL_REKOGNITION: rekognition.url,
    })
    const node = [process.execPath, ...NODE].map((word) => `"${word}"`).join(' ')
    const env = {
      ...{ ...AWS, AWS_ENDPOINT_URL: running.aws, DATA_DIR },
      PATH: programs({
        aws: `exec "${onPath('aws')}" --endpoint-url ${running.aws} "$@"`,
        npm: `case "$2" in
          ops) shift 3; cd "${root}"; exec ${node} ops/main.ts "$@" ;;
          cli) shift 3; cd "${root}"; exec ${node} packages/client/main.ts "$@" ;;
          esac
          exit 9`,
      }),
    }
    const show = async (id: string) => {
      const response = await fetch(`${running.url}/images/${id}`)
      return { http: response.status, ...((await response.json()) as { status: string }) }
    }
    const becomes = (id: string, status: string) =>
      until(`the image is ${status}`, async () => (await show(id)).status === status || undefined)
    const lambda = async (id = '', init: RequestInit = {}) => {
      const path = `${running.aws}/2015-03-31/event-source-mappings/${id}`
      return (await (await fetch(path, { ...init, headers: signed('lambda') })).json()) as {
        EventSourceMappings: { UUID: string; State: string }[]
      }
    }
    const mapping = async () => (await lambda()).EventSourceMappings[0] ?? { UUID: '', State: '' }
    const isPaused = (state: string) =>
      until(`the worker is ${state}`, async () => (await mapping()).State === state || undefined)

    rekognition.mood = 'refuses'
    const refused = await post(running.url, await distinct(1))
    await becomes(refused, 'failed')
    rekognition.mood = 'fails'
    const exhausted = await post(running.url, await distinct(2))
    await becomes(exhausted, 'failed')
    rekognition.mood = 'well'

    const [log = ''] = of('What the log says')
    expect(await run(log, env)).toContain(exhausted)
    const [failures = '', story = ''] = of('Which images failed, and why')
    const counted = await run(failures, env)
    expect(counted).toContain('ANALYSIS_REFUSED')
    expect(counted).toContain(exhausted)
    expect(await run(story, { ...env, IMAGE_ID: refused })).toMatch(/claimed[\s\S]*failed[\s\S]*announced/)

    const [pause = '', resume = '', byCli = ''] = of('Pause and resume the worker')
    await run(pause, env)
    const waiting = await post(running.url, await distinct(3))
    expect(await mapping()).toMatchObject({ State: 'Disabled' })
    expect(await show(waiting)).toMatchObject({ status: 'pending' })
    await run(resume, env)
    await becomes(waiting, 'completed')
    await run(byCli, env)
    await isPaused('Disabled')
    await lambda((await mapping()).UUID, { method: 'PUT', body: '{"Enabled":true}' })
    await isPaused('Enabled')

    const [look = '', redrive = '', empty = ''] = of('Redrive dead letters')
    expect(await run(look, env)).toContain(exhausted)
    await run(redrive, env)
    await becomes(exhausted, 'completed')
    const queue = `${running.aws}/000000000000/image-analyzer-jobs-dead`
    const sqs = (...args: string[]) =>
      aws('--endpoint-url', running.aws, 'sqs', ...args, '--queue-url', queue)
    await sqs('send-message', '--message-body', 'no job')
    expect(await run(look, env)).toContain('no job')
    await run(empty, env)
    expect(await sqs('receive-message')).toBe('')

    const [retry = ''] = of('Analyse images of a day again')
    await run(retry, env)
    await becomes(refused, 'completed')

    const [cost = ''] = of('What it costs')
    expect(await run(cost, env)).toMatch(
      /^\d+ calls paid for, \$0\.0\d+ this month; .*\n\d\d calls reserved /,
    )

    const [quota = ''] = of("Raise Rekognition's quota")
    expect(await run(quota, env)).toBe(
      'Images that wait: 0, in work: 0; throttled: 0, in the last hour: 0; for the month’s budget: 0; jobs in the queue: 0\n',
    )

    const [cancel = ''] = of('Stop what a caller has sent by mistake')
    const { UUID } = await mapping()
    await lambda(UUID, { method: 'PUT', body: '{"Enabled":false}' })
    await isPaused('Disabled')
    const mistake = await post(running.url, await distinct(4))
    const dynamo = DynamoDBDocumentClient.from(
      new DynamoDBClient({
        endpoint: running.aws,
        region: 'us-east-1',
        credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
      }),
    )
    onTestFinished(() => dynamo.destroy())
    const [TableName, Restored] = ['image-analyzer-images', 'image-analyzer-restored']
    const item = async (imageId: string) =>
      (await dynamo.send(new GetCommand({ TableName, Key: { imageId } }))).Item ?? {}
    const owner = String((await item(mistake))['owner'])
    const OWNER_HASH = createHash('sha256').update(owner).digest('hex').slice(0, 16)
    await run(cancel, { ...env, OWNER_HASH })
    expect(await show(mistake)).toMatchObject({ http: 404 })
    expect(await show(waiting)).toMatchObject({ status: 'completed' })

    const [putBack = ''] = of('Restore the table')
    // What AWS has restored, and what was deleted since.
    await dynamo.send(
      new CreateTableCommand({
        ...{ TableName: Restored, BillingMode: 'PAY_PER_REQUEST' },
        AttributeDefinitions: [{ AttributeName: 'imageId', AttributeType: 'S' }],
        KeySchema: [{ AttributeName: 'imageId', KeyType: 'HASH' }],
      }),
    )
    const lost = await item(waiting)
    await until('the table takes it', () =>
      dynamo.send(new PutCommand({ TableName: Restored, Item: lost })).catch(() => undefined),
    )
    await fetch(`${running.url}/images/${waiting}`, { method: 'DELETE' })
    expect(await show(waiting)).toMatchObject({ http: 404 })
    await run(putBack, { ...env, IMAGE_ID: waiting })
    expect(await show(waiting)).toMatchObject({ http: 200, status: 'completed' })
    // The embedded S3 has no versions.
    expect((await fetch(`${running.url}/images/${waiting}/original`)).status).toBe(404)

    // The pause of before outlasts the process, which says so.
    expect(await running.end('SIGINT')).toBe(0)
    const { system: again, said } = await startQuietly({ DATA_DIR })
    expect(said).toEqual([
      expect.stringContaining('The worker is paused, as it was when npm start last ended'),
    ])
    expect(
      await (
        await fetch(`${again.awsEndpoint}/2015-03-31/event-source-mappings/`, { headers: signed('lambda') })
      ).json(),
    ).toMatchObject({
      EventSourceMappings: [{ UUID, State: 'Disabled' }],
    })
  })

  it('names the deployment in each of the operator’s commands', () => {
    const asked = BLOCKS.flatMap(({ script }) => script.match(/^npm run ops .*$/gm) ?? [])
    expect(asked.length).toBeGreaterThan(5)
    // In a sentence too; but for the help.
    const told = runbook.match(/`npm run ops -- \w[^`]*/g) ?? []
    expect(told.length).toBeGreaterThan(0)
    expect([...asked, ...told].filter((line) => !line.endsWith(' --name "$NAME"'))).toEqual([])
  })

  it('opens no pager, which would take the next line that is pasted; nor does a guide', async () => {
    expect(await run('printenv AWS_PAGER', { AWS_PAGER: 'less' })).toBe('\n')
    const guides = globSync('docs/guides/*.md', { cwd: root }).map((file) =>
      readFileSync(join(root, file), 'utf8'),
    )
    const blocks = guides.flatMap((guide) => guide.match(/^```sh[\s\S]*?^```/gm) ?? [])
    const ofAws = blocks.filter((block) => /^ *aws /m.test(block))
    expect(ofAws.map((block) => /\bAWS_PAGER= /.test(block))).toEqual([true, true])
  })

  it('names only commands, options and settings that there are', async () => {
    const noted = join(newFolder(), 'noted')
    // What it is asked for by --query stands for its value.
    const note = (name: string) =>
      `printf '%s\\0' ${name} "$@" >> "${noted}"; printf '\\n' >> "${noted}"
      while [ $# -gt 0 ]; do if [ "$1" = --query ]; then echo "$2"; fi; shift; done`
    const PATH = programs(
      Object.fromEntries(['aws', 'terraform', 'git', 'npm', 'sh'].map((name) => [name, note(name)])),
    )
    for (const { script, onAws } of commands) if (onAws) await run(script, { PATH, IMAGE_ID: 'id' })
    const noticed = readFileSync(noted, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split('\0').slice(0, -1))
    const scripts = noticed.flatMap(([name, file = '']) => (name === 'sh' ? [file] : []))
    expect(scripts.map((file) => existsSync(join(root, file)))).toEqual([true])
    const byAws = noticed.flatMap(([name, ...args]) => (name === 'aws' && args[1] !== 'wait' ? [args] : []))
    expect(byAws.length).toBeGreaterThan(6)
    // The CLI takes any text for an ARN, and EventBridge only that of an archive.
    const replay = byAws.find(([, operation]) => operation === 'start-replay')?.join(' ')
    expect(replay).toContain(' --event-source-arn ArchiveArn --destination Arn=Arn,FilterArns=Arn ')
    // The AWS CLI checks what it is given before it finds that nothing listens there.
    // A loop says the same of several objects.
    const optionsOf = (args: string[]) => args.filter((arg, at) => at < 2 || arg.startsWith('--')).join(' ')
    const each = new Map(byAws.map((args) => [optionsOf(args), args]))
    const calls = [...each.values()].map((args) => ['--endpoint-url', 'http://127.0.0.1:1', ...args])
    for (const call of calls) await expect(aws(...call), call.join(' ')).rejects.toThrow('Could not connect')
    const variables = readFileSync(join(root, 'infrastructure/variables.tf'), 'utf8')
    const said = runbook.matchAll(/(?:TF_VAR_|-var=)(\w+)/g)
    const settings = [...said].map(([, name]) => name)
    expect(settings).toHaveLength(5)
    expect(settings.filter((name) => !variables.includes(`variable "${name}"`))).toEqual([])
  })
})
