import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../build/bundle.ts'
import { type Copy, copyModule, MODULE } from '../../build/terraform.ts'
import { madeOnce } from '../once.ts'

export interface PlannedResource {
  address: string
  type: string
  /** What the resource will be; blocks are lists. */
  after: Record<string, unknown>
}

export interface Statement {
  Sid: string
  Effect: 'Allow' | 'Deny'
  Principal?: '*' | { Service: string }
  Action: string | string[]
  Resource: string | string[]
  Condition?: Record<string, Record<string, string | string[]>>
}

/** A plan of tests/rendered.tftest.hcl: no account was asked, and everything that matters is known. */
export class Plan {
  readonly resources: PlannedResource[]
  constructor(resources: PlannedResource[]) {
    this.resources = resources
  }

  ofType(type: string): PlannedResource[] {
    return this.resources.filter((resource) => resource.type === type)
  }

  /** @throws Error when there is no such resource */
  get(address: string): Record<string, unknown> {
    const resource = this.resources.find((each) => each.address === address)
    if (resource === undefined) throw new Error(`The plan has no ${address}.`)
    return resource.after
  }

  /** The statements of the policy of a function (`api`, `worker`, `sweeper`), or of another resource by its address. */
  policy(of: string): Statement[] {
    const { policy } = this.get(of.includes('.') ? of : `aws_iam_role_policy.${of}`)
    return (JSON.parse(policy as string) as { Statement: Statement[] }).Statement
  }
}

export type Plans = Record<'everything' | 'frugal' | 'defaults' | 'jwt', Plan>

/** The one test file of the module whose plans are looked at here. */
export const RENDERED = join('tests', 'rendered.tftest.hcl')

/**
 * Its plans, by the names of their runs: made once for all test files, since that takes many seconds.
 *
 * @param copy of the module, where there is one already
 */
export async function renderPlans(copy?: Copy): Promise<Plans> {
  const folder = await madeOnce('plans', async (folder) =>
    writeFileSync(join(folder, 'plans.json'), JSON.stringify(await render(copy))),
  )
  const plans = JSON.parse(readFileSync(join(folder, 'plans.json'), 'utf8'))
  const made = Object.entries(plans).map(([name, resources]) => [
    name,
    new Plan(resources as PlannedResource[]),
  ])
  return Object.fromEntries(made)
}

async function render(given?: Copy): Promise<Record<string, PlannedResource[]>> {
  const copy = given ?? (await copyModule(MODULE))
  try {
    if (given === undefined) await copy.serveProvider()
    const args = ['test', '-json', '-verbose', `-filter=${RENDERED}`]
    const { status, stdout, stderr } = await copy.terraform(args)
    if (status !== 0) throw new Error(`terraform test failed: ${stderr}${stdout}`)
    const plans: Record<string, PlannedResource[]> = {}
    for (const line of stdout.trim().split('\n')) {
      const message: TestMessage = JSON.parse(line)
      if (message.type !== 'test_plan') continue
      plans[message['@testrun']] = message.test_plan.resource_changes.map(({ address, type, change }) => ({
        address,
        type,
        after: change.after,
      }))
    }
    return plans
  } finally {
    if (given === undefined) copy.remove()
  }
}

type TestMessage =
  | { type: 'other' }
  | {
      type: 'test_plan'
      '@testrun': string
      test_plan: {
        resource_changes: { address: string; type: string; change: { after: Record<string, unknown> } }[]
      }
    }

export const moduleText = (): string =>
  globSync(join(ROOT, MODULE, '*.tf'))
    .sort()
    .map(read)
    .join('\n')

function read(path: string): string {
  return readFileSync(path, 'utf8')
}
