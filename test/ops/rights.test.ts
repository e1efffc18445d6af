import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SendMessageCommand } from '@aws-sdk/client-sqs'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestSystem, type TestSystem } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'
import { type Instead, operatorOf } from './operator.ts'

const root = join(import.meta.dirname, '../..')
const photo = readFileSync(join(root, 'test/fixtures/grace-hopper.jpg'))

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem()
})
afterAll(() => system?.stop())

const { ops, behind } = operatorOf(() => system)

it('the commands ask of table and queues what infrastructure/README.md says that an operator needs, and no more', async () => {
  const page = readFileSync(join(root, 'infrastructure/README.md'), 'utf8')
  const granted = new Map(
    [...page.matchAll(/^\| (`[a-z]+`(?:, `[a-z]+`)*) \| (.*`.*) \|$/gm)].flatMap(([, names = '', rights]) =>
      [...names.matchAll(/`(\w+)`/g)].map(([, name]) => [name, `${rights} \`GetQueueUrl\``] as const),
    ),
  )
  const { sqs, deadLetterQueueUrl } = system.worker
  const letter = () =>
    sqs.send(
      new SendMessageCommand({
        QueueUrl: deadLetterQueueUrl,
        MessageBody: `{"version":1,"imageId":"${failed}","epoch":2}`,
      }),
    )
  const failed = await system.submit(photo.subarray(0, 20_000))
  await system.work()
  await system.submit(await distinct(1))
  await letter()
  const asked: [command: string, action: string][] = []
  const commands = [
    ...['failures', 'quota', 'cost', 'redrive --code CORRUPT_IMAGE --yes', 'redrive --yes'],
    ...['retry --code CORRUPT_IMAGE --yes', 'cancel --since 1h --yes'],
  ]
  for (const line of commands) {
    const args = line.split(' ')
    const seen: Instead = (operation) => {
      asked.push([args[0] ?? '', operation.replace(/Batch$/, '')])
      return undefined
    }
    if (line === 'redrive --yes') await letter()
    const { code, err } = await behind(seen, (AWS_ENDPOINT_URL) => ops(args, { AWS_ENDPOINT_URL }))
    expect(code, err).toBe(0)
  }
  const isGranted = ([command, action]: [string, string]) =>
    granted.get(command)?.match(new RegExp(`[\`:]${action}\``)) != null
  expect([...granted.keys()].sort()).toEqual(
    'cancel,cost,failures,pause,quota,redrive,resume,retry'.split(','),
  )
  expect(asked.filter((call) => !isGranted(call))).toEqual([])
  // ChangeMessageVisibility is for letters that stay; pause and resume are in another test.
  const unasked = commands.flatMap((line) => {
    const [command = ''] = line.split(' ')
    const names = [...(granted.get(command) ?? '').matchAll(/`(?:sqs:)?([A-Z]\w+)`/g)].map(([, name]) => name)
    return names.filter((name) => !asked.some((call) => call[0] === command && call[1] === name))
  })
  expect(new Set(unasked)).toEqual(new Set(['ChangeMessageVisibility', 'GetItem']))
})
