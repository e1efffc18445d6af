import { beforeAll, describe, expect, it } from 'vitest'
import { missing } from '../../build/terraform.ts'
import { skipped } from '../tools.ts'
import { moduleText, type Plan, type PlannedResource, renderPlans } from './terraform.ts'

/** What a rule asks of one resource; rules without it cannot be met here and are suppressed with a reason. */
type Check = (resource: PlannedResource['after'], plan: Plan, block: string) => boolean
type Rules = Record<string, { on: string; holds?: Check }>

const first = (value: unknown): Record<string, unknown> => (value as Record<string, unknown>[])[0] ?? {}
const bucketHas =
  (type: string, holds: (resource: PlannedResource['after']) => boolean): Check =>
  (bucket, plan) =>
    plan.ofType(type).some(({ after }) => after['bucket'] === bucket['bucket'] && holds(after))
const publicAccessBlock = (setting: string): Check =>
  bucketHas('aws_s3_bucket_public_access_block', (block) => block[setting] === true)
const recovers: Check = (table) => first(table['point_in_time_recovery'])['enabled'] === true
const traced: Check = (lambda) => first(lambda['tracing_config'])['mode'] === 'Active'
const accessLogged: Check = (stage) => (stage['access_log_settings'] as unknown[]).length === 1
const stageTraced: Check = (stage) => stage['xray_tracing_enabled'] === true
const encryptedQueue: Check = (queue) => queue['sqs_managed_sse_enabled'] === true
const authorised: Check = (method) => method['authorization'] !== 'NONE'

/** What checkov and trivy would raise about this configuration, and what each rule looks at. */
const RULES: Rules = {
  // Buckets
  CKV_AWS_18: { on: 'aws_s3_bucket' },
  CKV_AWS_21: { on: 'aws_s3_bucket' },
  CKV_AWS_144: { on: 'aws_s3_bucket' },
  CKV_AWS_145: { on: 'aws_s3_bucket' },
  CKV2_AWS_6: {
    on: 'aws_s3_bucket',
    holds: (bucket, plan, block) =>
      ['block_public_acls', 'block_public_policy', 'ignore_public_acls', 'restrict_public_buckets'].every(
        (setting) => publicAccessBlock(setting)(bucket, plan, block),
      ),
  },
  CKV2_AWS_61: { on: 'aws_s3_bucket', holds: bucketHas('aws_s3_bucket_lifecycle_configuration', () => true) },
  CKV2_AWS_62: { on: 'aws_s3_bucket', holds: bucketHas('aws_s3_bucket_notification', () => true) },
  CKV2_AWS_65: {
    on: 'aws_s3_bucket',
    holds: bucketHas(
      'aws_s3_bucket_ownership_controls',
      ({ rule }) => first(rule)['object_ownership'] === 'BucketOwnerEnforced',
    ),
  },
  CKV_AWS_300: {
    on: 'aws_s3_bucket_lifecycle_configuration',
    holds: ({ rule }) =>
      (rule as Record<string, unknown>[]).some(
        (each) =>
          each['status'] === 'Enabled' &&
          first(each['filter'])['prefix'] == null &&
          first(each['abort_incomplete_multipart_upload'])['days_after_initiation'] === 1,
      ),
  },
  'AWS-0086': { on: 'aws_s3_bucket', holds: publicAccessBlock('block_public_acls') },
  'AWS-0087': { on: 'aws_s3_bucket', holds: publicAccessBlock('block_public_policy') },
  'AWS-0089': { on: 'aws_s3_bucket' },
  'AWS-0090': { on: 'aws_s3_bucket' },
  'AWS-0091': { on: 'aws_s3_bucket', holds: publicAccessBlock('ignore_public_acls') },
  'AWS-0093': { on: 'aws_s3_bucket', holds: publicAccessBlock('restrict_public_buckets') },
  'AWS-0132': { on: 'aws_s3_bucket' },
  // Queues
  CKV_AWS_27: { on: 'aws_sqs_queue', holds: encryptedQueue },
  'AWS-0096': { on: 'aws_sqs_queue', holds: encryptedQueue },
  'AWS-0135': { on: 'aws_sqs_queue' },
  // The topic of alarms
  CKV_AWS_26: { on: 'aws_sns_topic' },
  'AWS-0095': { on: 'aws_sns_topic' },
  // The table
  CKV_AWS_28: { on: 'aws_dynamodb_table', holds: recovers },
  CKV_AWS_119: { on: 'aws_dynamodb_table' },
  CKV2_AWS_16: { on: 'aws_dynamodb_table' },
  'AWS-0024': { on: 'aws_dynamodb_table', holds: recovers },
  'AWS-0025': { on: 'aws_dynamodb_table' },
  // Functions
  CKV_AWS_50: { on: 'aws_lambda_function', holds: traced },
  CKV_AWS_115: { on: 'aws_lambda_function' },
  CKV_AWS_116: { on: 'aws_lambda_function' },
  CKV_AWS_117: { on: 'aws_lambda_function' },
  CKV_AWS_173: { on: 'aws_lambda_function' },
  CKV_AWS_272: { on: 'aws_lambda_function' },
  'AWS-0066': { on: 'aws_lambda_function', holds: traced },
  'AWS-0067': {
    on: 'aws_lambda_permission',
    holds: ({ source_arn }) =>
      /^arn:aws:(execute-api|events):us-east-1:111122223333:/.test(String(source_arn)),
  },
  'AWS-0057': {
    on: 'aws_iam_role_policy',
    holds: ({ policy }) => !JSON.stringify(JSON.parse(String(policy))).includes('*'),
  },
  // The gateway
  CKV_AWS_59: { on: 'aws_api_gateway_method', holds: authorised },
  CKV2_AWS_53: { on: 'aws_api_gateway_method' },
  CKV2_AWS_70: { on: 'aws_api_gateway_method', holds: authorised },
  'AWS-0004': { on: 'aws_api_gateway_method', holds: authorised },
  CKV_AWS_237: {
    on: 'aws_api_gateway_rest_api',
    holds: (_resource, _plan, block) => /create_before_destroy = true/.test(block),
  },
  CKV_AWS_217: {
    on: 'aws_api_gateway_deployment',
    holds: (_resource, _plan, block) => /create_before_destroy = true/.test(block),
  },
  CKV_AWS_73: { on: 'aws_api_gateway_stage', holds: stageTraced },
  CKV_AWS_76: { on: 'aws_api_gateway_stage', holds: accessLogged },
  CKV_AWS_120: { on: 'aws_api_gateway_stage' },
  CKV2_AWS_4: {
    on: 'aws_api_gateway_stage',
    holds: (stage, plan) =>
      plan
        .ofType('aws_api_gateway_method_settings')
        .some(
          ({ after }) =>
            after['stage_name'] === stage['stage_name'] &&
            after['method_path'] === '*/*' &&
            ['ERROR', 'INFO'].includes(String(first(after['settings'])['logging_level'])),
        ),
  },
  CKV2_AWS_29: { on: 'aws_api_gateway_stage' },
  CKV2_AWS_51: { on: 'aws_api_gateway_stage' },
  'AWS-0001': { on: 'aws_api_gateway_stage', holds: accessLogged },
  'AWS-0003': { on: 'aws_api_gateway_stage', holds: stageTraced },
  CKV_AWS_225: { on: 'aws_api_gateway_method_settings' },
  CKV_AWS_308: { on: 'aws_api_gateway_method_settings' },
  'AWS-0002': { on: 'aws_api_gateway_method_settings' },
  // Logs
  CKV_AWS_66: {
    on: 'aws_cloudwatch_log_group',
    holds: ({ retention_in_days }) => Number(retention_in_days) > 0,
  },
  CKV_AWS_158: { on: 'aws_cloudwatch_log_group' },
  CKV_AWS_338: { on: 'aws_cloudwatch_log_group' },
  'AWS-0017': { on: 'aws_cloudwatch_log_group' },
}

interface Block {
  /** As `type.name`. */
  address: string
  text: string
  /** Reasons by rule: checkov reads them inside the block, trivy above it. */
  suppressed: Map<string, string>
}

/** Terraform's formatter puts a block's braces at the beginning of lines. */
function blocksOf(text: string): Block[] {
  const block = /((?:^#.*\n)*)^resource "(\w+)" "(\w+)" \{\n([\s\S]*?)^\}/gm
  return [...text.matchAll(block)].map(([, above = '', type = '', name = '', body = '']) => ({
    address: `${type}.${name}`,
    text: body,
    suppressed: new Map([
      ...[...body.matchAll(/^ {2}#checkov:skip=(\w+): (.*)$/gm)].map(
        ([, rule = '', reason = '']): [string, string] => [rule, reason],
      ),
      ...[...above.matchAll(/^#trivy:ignore:(\S+) (.*)$/gm)].map(
        ([, rule = '', reason = '']): [string, string] => [rule, reason],
      ),
    ]),
  }))
}

const blocks = blocksOf(moduleText())
const blockOf = (address: string): Block => {
  const block = blocks.find((each) => each.address === address.replace(/\[.*/, ''))
  if (block === undefined) throw new Error(`No block for ${address}.`)
  return block
}

it('every suppression is where its scanner looks for it, names a known rule and gives a reason', () => {
  const found = blocks.flatMap(({ address, suppressed }) =>
    [...suppressed].map(([rule, reason]) => ({ address, rule, reason })),
  )
  const written = moduleText().match(/#(checkov:skip|trivy:ignore)/g) ?? []
  expect(found.length).toBe(written.length)
  const wrong = found.filter(
    ({ address, rule, reason }) =>
      RULES[rule]?.on !== address.split('.')[0] || reason.split(/\s+/).length < 5,
  )
  expect(wrong).toEqual([])
})

it('every statement of a policy has an id of its own, and says above why it is there', () => {
  const policies = blocks.filter(({ address }) => address.startsWith('aws_iam_role_policy.'))
  expect(policies.map(({ address }) => address).sort()).toEqual(
    ['api', 'sweeper', 'webhook', 'worker'].map((name) => `aws_iam_role_policy.${name}`),
  )
  for (const { address, text } of policies) {
    const statements = [...text.matchAll(/^( *# .*\n)? *\{\n *(\S+) += "?(\w+)/gm)]
    expect(statements.length, address).toBeGreaterThan(0)
    for (const [, comment, key, sid] of statements) {
      expect([key, comment === undefined], `${address} ${sid}`).toEqual(['Sid', false])
    }
    const ids = statements.map(([, , , sid]) => sid)
    expect(new Set(ids).size).toBe(ids.length)
  }
})

const lacking = missing()
describe.skipIf(lacking.length > 0)(`security of the plan${skipped(lacking)}`, () => {
  let plan: Plan
  beforeAll(async () => {
    plan = (await renderPlans()).everything
  })

  it.each(Object.entries(RULES))('%s is met or suppressed with a reason', (rule, { on, holds }) => {
    const resources = plan.ofType(on)
    expect(resources.length).toBeGreaterThan(0)
    const open = resources.filter(({ address, after }) => {
      const block = blockOf(address)
      return !block.suppressed.has(rule) && !holds?.(after, plan, block.text)
    })
    expect(open.map(({ address }) => address)).toEqual([])
    // A suppression that nothing needs any more would hide the next mistake.
    const idle = blocks
      .filter(({ suppressed }) => suppressed.has(rule))
      .filter(({ address, text }) =>
        resources
          .filter((resource) => blockOf(resource.address).address === address)
          .every(({ after }) => holds?.(after, plan, text) ?? false),
      )
    expect(idle.map(({ address }) => address)).toEqual([])
  })

  it('the bucket and every queue refuse plain HTTP', () => {
    expect(plan.policy('aws_s3_bucket_policy.images[0]')).toContainEqual({
      Sid: 'TlsOnly',
      Effect: 'Deny',
      Principal: '*',
      Action: 's3:*',
      Resource: [
        'arn:aws:s3:::image-analyzer-images-111122223333-us-east-1',
        'arn:aws:s3:::image-analyzer-images-111122223333-us-east-1/*',
      ],
      Condition: { Bool: { 'aws:SecureTransport': 'false' } },
    })
    const queues = plan
      .ofType('aws_sqs_queue')
      .map(({ after }) => `arn:aws:sqs:us-east-1:111122223333:${after['name']}`)
    const tlsOnly = plan
      .ofType('aws_sqs_queue')
      .flatMap(({ address }) => plan.policy(address))
      .filter(
        ({ Effect, Principal, Action, Condition }) =>
          Effect === 'Deny' &&
          Principal === '*' &&
          Action === 'sqs:*' &&
          Condition?.['Bool']?.['aws:SecureTransport'] === 'false',
      )
    expect(queues.length).toBe(5)
    expect(tlsOnly.map(({ Resource }) => Resource).sort()).toEqual(queues.sort())
  })

  it('no caller is let in by a resource policy but this bucket, for jobs, and one rule of this bus for each subscriber', () => {
    const allowed = ['aws_s3_bucket_policy', 'aws_sqs_queue']
      .flatMap((type) => plan.ofType(type))
      .flatMap(({ address }) => plan.policy(address))
      .filter(({ Effect }) => Effect === 'Allow')
    const rule = (name: string) =>
      `arn:aws:events:us-east-1:111122223333:rule/image-analyzer/image-analyzer-${name}`
    const queue = (name: string) => `arn:aws:sqs:us-east-1:111122223333:image-analyzer-${name}`
    expect(
      allowed
        .map(({ Principal, Action, Resource, Condition }) => ({ Principal, Action, Resource, Condition }))
        .sort((a, b) => String(a.Resource).localeCompare(String(b.Resource))),
    ).toEqual([
      {
        Principal: { Service: 's3.amazonaws.com' },
        Action: 'sqs:SendMessage',
        Resource: queue('jobs'),
        Condition: {
          ArnEquals: { 'aws:SourceArn': plan.get('aws_s3_bucket.images')['arn'] },
          StringEquals: { 'aws:SourceAccount': '111122223333' },
        },
      },
      ...[
        ['subscriber', 'queue'],
        ['subscriber-dead', 'queue'],
        ['webhook-dead', 'webhook'],
      ].map(([name = '', from = '']) => ({
        Principal: { Service: 'events.amazonaws.com' },
        Action: 'sqs:SendMessage',
        Resource: queue(name),
        Condition: { ArnEquals: { 'aws:SourceArn': rule(from) } },
      })),
    ])
  })

  // What the functions may do is held against what they really do in permissions.test.ts.
  it.each([
    ['worker', 'uploads/*,originals/*,analyses/*'],
    ['sweeper', 'uploads/*,originals/*'],
  ])('the %s may look for %s, and for nothing else in the bucket', (name, prefixes) => {
    expect(rights(plan, name).filter((right) => right.startsWith('s3:ListBucket'))).toEqual([
      `s3:ListBucket arn:aws:s3:::image-analyzer-images-111122223333-us-east-1 if s3:prefix = ${prefixes}`,
    ])
  })

  it('each role can be taken on by its own service only', () => {
    const roles = plan.ofType('aws_iam_role').map(({ address, after }) => {
      const { Statement } = JSON.parse(String(after['assume_role_policy'])) as {
        Statement: { Action: string; Principal: { Service: string } }[]
      }
      return [address, ...Statement.map(({ Action, Principal }) => `${Action} ${Principal.Service}`)]
    })
    expect(roles.sort()).toEqual([
      ['aws_iam_role.api', 'sts:AssumeRole lambda.amazonaws.com'],
      ['aws_iam_role.api_gateway_logging[0]', 'sts:AssumeRole apigateway.amazonaws.com'],
      ['aws_iam_role.sweeper', 'sts:AssumeRole lambda.amazonaws.com'],
      ['aws_iam_role.webhook[0]', 'sts:AssumeRole events.amazonaws.com'],
      ['aws_iam_role.worker', 'sts:AssumeRole lambda.amazonaws.com'],
    ])
  })

  it('only jobs may be redriven into the dead-letter queue', () => {
    expect(JSON.parse(String(plan.get('aws_sqs_queue.jobs_dead')['redrive_allow_policy']))).toEqual({
      redrivePermission: 'byQueue',
      sourceQueueArns: ['arn:aws:sqs:us-east-1:111122223333:image-analyzer-jobs'],
    })
  })

  it('only the API’s page and named origins may post to the bucket, and with no header that a form does not need', () => {
    expect(plan.get('aws_s3_bucket_cors_configuration.images')['cors_rule']).toMatchObject([
      {
        allowed_methods: ['POST'],
        allowed_origins: ['https://api.execute-api.us-east-1.amazonaws.com', 'https://app.example'],
        allowed_headers: null,
        expose_headers: null,
      },
    ])
  })

  it('what strangers may call unsigned is /health, and whether a page may ask', () => {
    const open = plan
      .ofType('aws_api_gateway_method')
      .filter(({ after }) => after['authorization'] === 'NONE')
      .map(({ address, after }) => `${address.replace(/.*"(.*)".*/, '$1')} ${after['http_method']}`)
    expect(open.sort()).toEqual(['health GET', 'proxy_preflight OPTIONS', 'root_preflight OPTIONS'])
  })

  it('the webhook’s token is where EventBridge needs it and nowhere else', () => {
    const holders = plan.resources.filter(({ after }) => JSON.stringify(after).includes('hooks-own-token'))
    expect(holders.map(({ address }) => address)).toEqual(['aws_cloudwatch_event_connection.webhook[0]'])
  })
})

/** A function's rights as `action resource`, with the condition if there is one. */
function rights(plan: Plan, name: string): string[] {
  return plan
    .policy(name)
    .flatMap(({ Effect, Action, Resource, Condition }) =>
      [Action].flat().flatMap((action) =>
        [Resource].flat().map((resource) => {
          expect(Effect).toBe('Allow')
          const conditions = Object.values(Condition ?? {}).flatMap((keys) =>
            Object.entries(keys).map(([key, value]) => ` if ${key} = ${value}`),
          )
          return `${action} ${resource}${conditions.join('')}`
        }),
      ),
    )
    .sort()
}
